// Package policy holds what the platform admin allows PoseJobs to ask for, and
// checks a job, and the variant that is to run it, against it. Everything that
// reaches beyond the job's namespace is denied until it is allowed.
package policy

import (
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
)

// Namespace in an output prefix stands for the job's namespace.
const Namespace = "{namespace}"

// Policy is what PoseJobs may ask for. The zero value denies all of it.
type Policy struct {
	// ServiceAccountNames, PriorityClassNames and RuntimeClassNames that a
	// podTemplate may name; "*" allows any.
	ServiceAccountNames []string `json:"serviceAccountNames,omitempty"`
	PriorityClassNames  []string `json:"priorityClassNames,omitempty"`
	RuntimeClassNames   []string `json:"runtimeClassNames,omitempty"`
	// TolerationKeys that a podTemplate may tolerate; "*" allows any.
	TolerationKeys []string `json:"tolerationKeys,omitempty"`
	// OutputPrefixes, one of which the path of spec.output.uri (the part behind
	// the bucket) must begin with. Unset means "{namespace}/". A pvc:// claim
	// lies in the namespace itself, so prefixes do not apply to it.
	OutputPrefixes []string `json:"outputPrefixes,omitempty"`
	// ImageRepositories, one of which an oci:// input must begin with, as
	// "registry.example/footage/"; "*" allows any. The nodes' own pull rights would
	// else be lent to whoever makes a job.
	ImageRepositories []string `json:"imageRepositories,omitempty"`
	// EnginesWithoutRunner lets variants of PoseEngines run without pose-runner,
	// which is what refuses them the network.
	EnginesWithoutRunner bool `json:"enginesWithoutRunner,omitempty"`
}

// Denied says, for a person, what the policy has against the job; nil is
// nothing.
func (p Policy) Denied(job *v1alpha1.PoseJob) []string {
	var why []string
	if d := p.output(job); d != "" {
		why = append(why, d)
	}
	why = append(why, p.images(job)...)
	t := job.Spec.PodTemplate
	if t == nil {
		return why
	}
	for _, c := range []struct {
		field, value string
		allowed      []string
	}{
		{"serviceAccountName", t.ServiceAccountName, p.ServiceAccountNames},
		{"priorityClassName", t.PriorityClassName, p.PriorityClassNames},
		{"runtimeClassName", t.RuntimeClassName, p.RuntimeClassNames},
	} {
		if c.value != "" && !allows(c.allowed, c.value) {
			why = append(why, fmt.Sprintf("spec.podTemplate.%s %q is not allowed by the operator's policy", c.field, c.value))
		}
	}
	for _, tol := range t.Tolerations {
		if !allows(p.TolerationKeys, tol.Key) {
			why = append(why, fmt.Sprintf("spec.podTemplate.tolerations: key %q is not allowed by the operator's policy", tol.Key))
		}
	}
	return why
}

// DeniedVariant says, for a person, what the policy has against a variant of a
// PoseEngine; empty is nothing.
func (p Policy) DeniedVariant(v *v1alpha1.Variant) string {
	if v.Runner != v1alpha1.RunnerNone || p.EnginesWithoutRunner {
		return ""
	}
	return fmt.Sprintf("variant %q has runner %s, which the operator's policy does not allow: without pose-runner an engine has the network. The platform admin can allow it with the chart's value config.policy.enginesWithoutRunner", v.Name, v.Runner)
}

func (p Policy) output(job *v1alpha1.PoseJob) string {
	uri := job.Spec.Output.URI
	if strings.HasPrefix(uri, "pvc://") {
		return ""
	}
	_, rest, _ := strings.Cut(uri, "://")
	_, raw, _ := strings.Cut(rest, "/")
	// The runner decodes the URI, so what counts is the decoded path: an encoded
	// .. would lead out of the prefix.
	key, err := url.PathUnescape(raw)
	if err != nil || path.Clean("/"+key) != "/"+strings.TrimRight(key, "/") {
		return fmt.Sprintf("spec.output.uri: the path %q must be plain: no . or .., no empty parts and no broken percent-encoding", raw)
	}
	prefixes := p.OutputPrefixes
	if len(prefixes) == 0 {
		prefixes = []string{Namespace + "/"}
	}
	var wanted []string
	for _, prefix := range prefixes {
		prefix = strings.ReplaceAll(prefix, Namespace, job.Namespace)
		if strings.HasPrefix(key+"/", prefix) {
			return ""
		}
		wanted = append(wanted, fmt.Sprintf("%q", prefix))
	}
	return fmt.Sprintf("spec.output.uri: the path %q must begin with %s, so that namespaces cannot overwrite each other's results", key, strings.Join(wanted, " or "))
}

// images that the job's inputs lie in.
func (p Policy) images(job *v1alpha1.PoseJob) []string {
	inputs := map[string]string{"spec.video.uri": job.Spec.Video.URI}
	if b := job.Spec.Video.Boxes; b != nil {
		inputs["spec.video.boxes.uri"] = b.URI
	}
	var why []string
	for _, field := range slices.Sorted(maps.Keys(inputs)) {
		repository, ok := strings.CutPrefix(inputs[field], "oci://")
		begins := func(prefix string) bool {
			return prefix == "*" || prefix != "" && strings.HasPrefix(repository, prefix)
		}
		if ok && !slices.ContainsFunc(p.ImageRepositories, begins) {
			why = append(why, fmt.Sprintf("%s: images of %s are not allowed by the operator's policy. The platform admin can allow them with the chart's value config.policy.imageRepositories", field, before(repository, "@")))
		}
	}
	return why
}

func before(s, separator string) string {
	b, _, _ := strings.Cut(s, separator)
	return b
}

func allows(allowed []string, value string) bool {
	return slices.Contains(allowed, "*") || slices.Contains(allowed, value)
}
