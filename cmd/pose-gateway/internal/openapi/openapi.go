// Package openapi holds the gateway's contract.
package openapi

import (
	_ "embed"
	"fmt"

	"sigs.k8s.io/yaml"
)

//go:embed openapi.yaml
var source []byte

// JSON gives the document as it is served, with the release in its place.
func JSON(release string) ([]byte, error) {
	var doc map[string]any
	if err := yaml.UnmarshalStrict(source, &doc); err != nil {
		return nil, fmt.Errorf("read the OpenAPI document: %w", err)
	}
	if info, ok := doc["info"].(map[string]any); ok && release != "" {
		info["x-release"] = release
	}
	out, err := yaml.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("write the OpenAPI document: %w", err)
	}
	out, err = yaml.YAMLToJSON(out)
	if err != nil {
		return nil, fmt.Errorf("write the OpenAPI document as JSON: %w", err)
	}
	return out, nil
}
