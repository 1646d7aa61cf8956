package main

import (
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers"
	"github.com/pose-dev/pose-operator/internal/report"
)

// Config is the operator's configuration file, written by the platform admin
// (the chart's value config).
type Config struct {
	// Images that the pods of attempts are made of beside the engine's.
	Images Images `json:"images"`
	// Store says where S3 and HTTP places may lie.
	Store Store `json:"store"`
	// Policy says what PoseJobs may ask for; what it does not name is denied.
	Policy controllers.Policy `json:"policy"`
	// Limits on videos.
	Limits Limits `json:"limits"`
	// Reuse of results that were computed before.
	Reuse Reuse `json:"reuse"`
	// Batches of many videos.
	Batches Batches `json:"batches"`
	// Learning from the attempts of all jobs.
	Learning Learning `json:"learning"`
	// Progress of running jobs.
	Progress Progress `json:"progress"`
}

// Images of the runner's containers.
type Images struct {
	Runner      string            `json:"runner"`
	Media       string            `json:"media"`
	PullPolicy  corev1.PullPolicy `json:"pullPolicy,omitempty"`
	PullSecrets []string          `json:"pullSecrets,omitempty"`
}

// Store is the admin's policy on places.
type Store struct {
	S3Endpoint       string   `json:"s3Endpoint,omitempty"`
	S3Region         string   `json:"s3Region,omitempty"`
	S3PathStyle      bool     `json:"s3PathStyle,omitempty"`
	GCSEndpoint      string   `json:"gcsEndpoint,omitempty"`
	AzureAccount     string   `json:"azureAccount,omitempty"`
	AzureEndpoint    string   `json:"azureEndpoint,omitempty"`
	WorkloadIdentity bool     `json:"workloadIdentity,omitempty"`
	CABundle         string   `json:"caBundle,omitempty"`
	HTTPAllowedHosts []string `json:"httpAllowedHosts,omitempty"`
}

// Limits bound what a video may be.
type Limits struct {
	VideoBytes  int64 `json:"videoBytes,omitempty"`
	FramePixels int64 `json:"framePixels,omitempty"`
	Frames      int64 `json:"frames,omitempty"`
}

// Reuse says what becomes of results that were computed before.
type Reuse struct {
	// Default is what jobs without spec.reuse do; empty is Never.
	Default v1alpha1.ReusePolicy `json:"default,omitempty"`
	// CrossNamespace offers the results of other namespaces too.
	CrossNamespace bool `json:"crossNamespace,omitempty"`
}

// Batches says whether PoseBatches are run.
type Batches struct {
	// Disabled runs none: the manager then needs no rights to ConfigMaps.
	Disabled bool `json:"disabled,omitempty"`
}

// Progress bounds what telling it costs the API server.
type Progress struct {
	// WritesPerSecond of status that tell progress alone, of all objects together; 20
	// when unset. With more jobs each is written more seldom.
	WritesPerSecond float64 `json:"writesPerSecond,omitempty"`
}

// Learning says whether jobs learn from the attempts of others.
type Learning struct {
	// Disabled learns nothing and skips nothing.
	Disabled bool `json:"disabled,omitempty"`
	// SingleTenant lets one namespace alone teach all.
	SingleTenant bool `json:"singleTenant,omitempty"`
}

// defaults: an hour of 60 fps, 8K frames, 64 GiB.
var defaults = Limits{VideoBytes: 64 << 30, FramePixels: 7680 * 4320, Frames: 216000}

// readConfig reads and checks the configuration. Unknown fields are errors: a
// mistyped policy must not pass for an absent one.
func readConfig(path string) (*Config, error) {
	raw, err := os.ReadFile(path) //nolint:gosec // the path is the admin's own flag
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	c := &Config{Limits: defaults}
	if err := yaml.UnmarshalStrict(raw, c); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	if c.Images.Runner == "" || c.Images.Media == "" {
		return nil, fmt.Errorf("configuration %s: images.runner and images.media must be set", path)
	}
	if w := c.Progress.WritesPerSecond; w < 0 || w > 10000 {
		return nil, fmt.Errorf("configuration %s: progress.writesPerSecond is %v: it must be from 0 to 10000", path, w)
	}
	switch c.Reuse.Default {
	case "", v1alpha1.ReuseIfVerified, v1alpha1.ReuseNever:
	default:
		return nil, fmt.Errorf("configuration %s: reuse.default is %q: it must be %s or %s", path, c.Reuse.Default, v1alpha1.ReuseIfVerified, v1alpha1.ReuseNever)
	}
	return c, nil
}

func (s Store) report() report.StoreConfig {
	return report.StoreConfig{
		S3Endpoint: s.S3Endpoint, S3Region: s.S3Region, S3PathStyle: s.S3PathStyle,
		GCSEndpoint: s.GCSEndpoint, AzureAccount: s.AzureAccount, AzureEndpoint: s.AzureEndpoint, WorkloadIdentity: s.WorkloadIdentity,
		CAPEM: s.CABundle, HTTPAllowedHosts: s.HTTPAllowedHosts,
	}
}

// options of the controllers.
func (l Learning) options() controllers.Learning {
	return controllers.Learning{Disabled: l.Disabled, SingleTenant: l.SingleTenant}
}
