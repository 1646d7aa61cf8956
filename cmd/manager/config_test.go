package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pose-dev/pose-operator/controllers"
	"github.com/pose-dev/pose-operator/internal/report"
)

func TestReadConfig(t *testing.T) {
	const images = "images: {runner: r, media: m}\n"
	base := func(change func(*Config)) *Config {
		c := &Config{Images: Images{Runner: "r", Media: "m"}, Limits: defaults}
		change(c)
		return c
	}
	for name, c := range map[string]struct {
		text string
		want *Config
		err  string
	}{
		"the images alone": {text: images, want: base(func(*Config) {})},
		"a policy": {text: images + "policy: {serviceAccountNames: [a], outputPrefixes: ['poses/{namespace}/']}", want: base(func(c *Config) {
			c.Policy = controllers.Policy{ServiceAccountNames: []string{"a"}, OutputPrefixes: []string{"poses/{namespace}/"}}
		})},
		"a limit leaves the others at their defaults": {text: images + "limits: {frames: 10}", want: base(func(c *Config) { c.Limits.Frames = 10 })},
		"a store": {text: images + "store: {s3Endpoint: 'https://s3', s3PathStyle: true, httpAllowedHosts: [a]}", want: base(func(c *Config) {
			c.Store = Store{S3Endpoint: "https://s3", S3PathStyle: true, HTTPAllowedHosts: []string{"a"}}
		})},
		"engines without pose-runner": {text: images + "policy: {enginesWithoutRunner: true}", want: base(func(c *Config) { c.Policy.EnginesWithoutRunner = true })},
		"learning by one tenant":      {text: images + "learning: {singleTenant: true}", want: base(func(c *Config) { c.Learning.SingleTenant = true })},
		"reuse":                       {text: images + "reuse: {default: IfVerified, crossNamespace: true}", want: base(func(c *Config) { c.Reuse = Reuse{Default: "IfVerified", CrossNamespace: true} })},
		"no batches":                  {text: images + "batches: {disabled: true}", want: base(func(c *Config) { c.Batches.Disabled = true })},
		"no learning":                 {text: images + "learning: {disabled: true}", want: base(func(c *Config) { c.Learning.Disabled = true })},

		"nothing":                             {text: "", err: "images.runner and images.media must be set"},
		"one image only":                      {text: "images: {runner: r}", err: "images.runner and images.media must be set"},
		"an unknown field":                    {text: images + "polices: {}", err: `unknown field "polices"`},
		"an unknown field of the policy":      {text: images + "policy: {serviceAccountName: [a]}", err: `unknown field "serviceAccountName"`},
		"an unknown field of the images":      {text: "images: {runner: r, media: m, engine: x}", err: `unknown field "engine"`},
		"an unknown field of learning":        {text: images + "learning: {enabled: false}", err: `unknown field "enabled"`},
		"a word where yes or no must be":      {text: images + "policy: {enginesWithoutRunner: \"true\"}", err: "enginesWithoutRunner"},
		"an unknown way to reuse":             {text: images + "reuse: {default: Always}", err: `reuse.default is "Always"`},
		"a field twice":                       {text: images + "limits: {frames: 1}\nlimits: {frames: 2}", err: `"limits" already set`},
		"a word where a number must be":       {text: images + "limits: {frames: many}", err: "frames"},
		"no YAML":                             {text: "images: [", err: "configuration"},
		"a list where one name must be given": {text: "images: {runner: [r], media: m}", err: "runner"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "config.yaml")
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := readConfig(file)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), file) {
					t.Errorf("readConfig = %+v, %v; want an error that names the file and %q", got, err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("config (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("no such file", func(t *testing.T) {
		if _, err := readConfig(filepath.Join(t.TempDir(), "missing.yaml")); err == nil || !strings.Contains(err.Error(), "missing.yaml") {
			t.Errorf("readConfig = %v, want an error that names the file", err)
		}
	})
}

func TestStoreBecomesTheRunners(t *testing.T) {
	got := Store{S3Endpoint: "e", S3Region: "r", S3PathStyle: true, CABundle: "c", HTTPAllowedHosts: []string{"h"}}.report()
	want := report.StoreConfig{S3Endpoint: "e", S3Region: "r", S3PathStyle: true, CAPEM: "c", HTTPAllowedHosts: []string{"h"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("store (-want +got):\n%s", diff)
	}
}

func TestLearningBecomesTheControllers(t *testing.T) {
	for _, l := range []Learning{{}, {Disabled: true}, {SingleTenant: true}} {
		if got := l.options(); got.Disabled != l.Disabled || got.SingleTenant != l.SingleTenant {
			t.Errorf("%+v becomes %+v", l, got)
		}
	}
}
