package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestReadConfig(t *testing.T) {
	const good = "publicURL: https://pose.example.org\nnamespaces: {default: poses}\nplace: {base: s3://poses}\nkeyFiles: [/keys/1]\n"
	const tokens = "auth: {tokens: {}}\n"
	for name, c := range map[string]struct{ text, err string }{
		"the least": {good + tokens, ""},
		"all ways to sign in": {good + "auth: {tokens: {audiences: [a]}, oidc: {issuer: 'https://id', clientID: c, session: 1h}, proxy: {from: [10.0.0.0/8], secretFile: /s}}\n" +
			"store: {s3Endpoint: 'http://s3:9000', s3PathStyle: true}\ntls: {certFile: /a, keyFile: /b}\n", ""},
		"nothing":                {"", "publicURL"},
		"an unknown field":       {good + tokens + "cors: [x]\n", `unknown field "cors"`},
		"nobody can sign in":     {good, "neither tokens, oidc nor proxy"},
		"a path in publicURL":    {strings.Replace(good, ".org", ".org/app", 1) + tokens, "publicURL"},
		"another scheme":         {strings.Replace(good, "https:", "ftp:", 1) + tokens, "publicURL"},
		"no namespace":           {strings.Replace(good, "default: poses", "allowed: [a]", 1) + tokens, "namespaces.default"},
		"no key":                 {strings.Replace(good, "/keys/1", "", 1) + tokens, "keyFiles"},
		"no list of keys":        {strings.Replace(good, "keyFiles: [/keys/1]\n", "", 1) + tokens, "keyFiles"},
		"a proxy from anywhere":  {good + "auth: {proxy: {secretFile: /s}}\n", "auth.proxy needs from"},
		"a proxy without secret": {good + "auth: {proxy: {from: [10.0.0.0/8]}}\n", "secretFile"},
		"no network":             {good + "auth: {proxy: {from: [10.0.0.1], secretFile: /s}}\n", "auth.proxy.from"},
		"half a login":           {good + "auth: {oidc: {issuer: 'https://id'}}\n", "issuer and clientID"},
		"a session of a year":    {good + "auth: {oidc: {issuer: 'https://id', clientID: c, session: 8760h}}\n", "session"},
		"an origin with a path":  {good + tokens + "corsOrigins: ['https://a/b']\n", "corsOrigins"},
		"any origin":             {good + tokens + "corsOrigins: ['*']\n", "corsOrigins"},
		"no limit":               {good + tokens + "limits: {videoBytes: 0}\n", "limits.videoBytes"},
		"too large a limit":      {good + tokens + "limits: {videoBytes: 99999999999999}\n", "5 TiB"},
		"links of a week":        {good + tokens + "limits: {linkExpires: 168h}\n", "linkExpires"},
		"exports of a week":      {good + tokens + "limits: {exportTime: 168h}\n", "limits.exportTime"},
		"no export":              {good + tokens + "limits: {exports: 0}\n", "limits.exports"},
		"an unknown policy":      {good + tokens + "jobs: {deletionPolicy: Keep}\n", "deletionPolicy"},
		"half a certificate":     {good + tokens + "tls: {certFile: /a}\n", "tls needs"},
		"a proxy's address":      {good + tokens + "trustedProxies: [here]\n", "trustedProxies"},
	} {
		file := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readConfig(file)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), file) {
				t.Errorf("%s: %v; want an error that names the file and %q", name, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.Limits.VideoBytes != 64<<30 || got.Limits.LinkExpires.Duration != 15*time.Minute || got.Jobs.DeletionPolicy != "Delete" {
			t.Errorf("%s: defaults %+v", name, got.Limits)
		}
		if o := got.Auth.OIDC; o != nil && (o.UsernameClaim != "sub" || o.GroupsClaim != "groups") {
			t.Errorf("%s: %+v", name, o)
		}
	}
}
