package main

import (
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/internal/report"
)

// Config is the gateway's file.
type Config struct {
	// PublicURL by which browsers reach the gateway, as https://pose.example.org.
	PublicURL string `json:"publicURL"`
	// Namespaces in which it makes jobs.
	Namespaces NamespaceConfig `json:"namespaces"`
	// Place of videos and results.
	Place PlaceConfig `json:"place"`
	// Store as in the manager's configuration: the admin's policy on places.
	Store report.StoreConfig `json:"store"`
	// KeyFiles hold at least 32 random bytes each: the first seals links and sessions,
	// all open them.
	KeyFiles []string   `json:"keyFiles"`
	Auth     AuthConfig `json:"auth"`
	Jobs     JobConfig  `json:"jobs"`
	Limits   Limits     `json:"limits"`
	// CORSOrigins whose pages may use the API with bearer tokens; none by default.
	CORSOrigins []string `json:"corsOrigins,omitempty"`
	// TrustedProxies are networks whose X-Forwarded-For is believed.
	TrustedProxies []string `json:"trustedProxies,omitempty"`
	// TLS of the gateway itself; without it something before it ends TLS.
	TLS *TLSConfig `json:"tls,omitempty"`
}

// NamespaceConfig names the namespaces.
type NamespaceConfig struct {
	// Default is used where neither request nor user names another.
	Default string `json:"default"`
	// Allowed beside it; "*" allows any, and needs rights in all.
	Allowed []string `json:"allowed,omitempty"`
}

// PlaceConfig is where videos and results lie.
type PlaceConfig struct {
	// Base is s3://bucket, gs://bucket or azblob://container, and perhaps a path. The
	// manager's policy.outputPrefixes must allow that path followed by {namespace}/.
	Base string `json:"base"`
	// CredentialsDir holds a file for each key of the Secret of the gateway's own
	// credentials.
	CredentialsDir string `json:"credentialsDir,omitempty"`
}

// JobConfig is what the jobs have that are made.
type JobConfig struct {
	// CredentialsSecret in the jobs' namespace.
	CredentialsSecret string                  `json:"credentialsSecret,omitempty"`
	Engine            string                  `json:"engine,omitempty"`
	Overlay           v1alpha1.Overlay        `json:"overlay,omitempty"`
	DeletionPolicy    v1alpha1.DeletionPolicy `json:"deletionPolicy,omitempty"`
	// TTLSecondsAfterFinished of the jobs; unset keeps them.
	TTLSecondsAfterFinished *int32 `json:"ttlSecondsAfterFinished,omitempty"`
	ServiceAccountName      string `json:"serviceAccountName,omitempty"`
}

// AuthConfig says how users become known. At least one way must be on.
type AuthConfig struct {
	Tokens *TokenConfig `json:"tokens,omitempty"`
	OIDC   *OIDCConfig  `json:"oidc,omitempty"`
	Proxy  *ProxyConfig `json:"proxy,omitempty"`
}

// TokenConfig is for bearer tokens of the cluster.
type TokenConfig struct {
	// Audiences of which a token must be for one; unset means the API server's own.
	Audiences []string `json:"audiences,omitempty"`
}

// OIDCConfig is for logins of browsers.
type OIDCConfig struct {
	Issuer           string   `json:"issuer"`
	ClientID         string   `json:"clientID"`
	ClientSecretFile string   `json:"clientSecretFile,omitempty"`
	Scopes           []string `json:"scopes,omitempty"`
	// UsernameClaim and its prefix, and those of groups, must give the names that RBAC
	// knows: as the API server's flags of the same names do.
	UsernameClaim  string `json:"usernameClaim,omitempty"`
	UsernamePrefix string `json:"usernamePrefix,omitempty"`
	GroupsClaim    string `json:"groupsClaim,omitempty"`
	GroupsPrefix   string `json:"groupsPrefix,omitempty"`
	// NamespaceClaim names the claim with the user's own namespace.
	NamespaceClaim string          `json:"namespaceClaim,omitempty"`
	Session        metav1.Duration `json:"session,omitempty"`
	CAFile         string          `json:"caFile,omitempty"`
}

// ProxyConfig is for a proxy that signs users in.
type ProxyConfig struct {
	// From are the networks of the proxy's addresses.
	From           []string `json:"from"`
	SecretFile     string   `json:"secretFile"`
	SecretHeader   string   `json:"secretHeader,omitempty"`
	UserHeader     string   `json:"userHeader,omitempty"`
	GroupsHeader   string   `json:"groupsHeader,omitempty"`
	UsernamePrefix string   `json:"usernamePrefix,omitempty"`
	GroupsPrefix   string   `json:"groupsPrefix,omitempty"`
}

// TLSConfig names a certificate and its key; they are read again when they change.
type TLSConfig struct {
	CertFile string `json:"certFile"`
	KeyFile  string `json:"keyFile"`
}

// Limits of the service.
type Limits struct {
	// VideoBytes of one video.
	VideoBytes int64 `json:"videoBytes,omitempty"`
	// Uploads that send at a time, UploadsPerUser of them by one user, and Joins of
	// pieces at a time. Each upload takes 16 MiB of memory, each join about 100 MiB.
	Uploads        int `json:"uploads,omitempty"`
	UploadsPerUser int `json:"uploadsPerUser,omitempty"`
	Joins          int `json:"joins,omitempty"`
	// Downloads at a time.
	Downloads int `json:"downloads,omitempty"`
	// Exports that are made at a time. Each reads at most ExportBytes of a result, and
	// takes up to twice as much of the disk; where its format holds people's motion in memory,
	// pose.json has at most ExportMotionBytes. ExportTime is the longest it may take.
	Exports           int             `json:"exports,omitempty"`
	ExportBytes       int64           `json:"exportBytes,omitempty"`
	ExportMotionBytes int64           `json:"exportMotionBytes,omitempty"`
	ExportTime        metav1.Duration `json:"exportTime,omitempty"`
	// Streams of events at a time, and of one user.
	Streams        int `json:"streams,omitempty"`
	StreamsPerUser int `json:"streamsPerUser,omitempty"`
	// RequestsPerMinute of one user, AddressRequestsPerMinute of one address.
	RequestsPerMinute        int `json:"requestsPerMinute,omitempty"`
	AddressRequestsPerMinute int `json:"addressRequestsPerMinute,omitempty"`
	// UploadExpires is how long a resumable upload may take, LinkExpires how long a link
	// to a file is good.
	UploadExpires metav1.Duration `json:"uploadExpires,omitempty"`
	LinkExpires   metav1.Duration `json:"linkExpires,omitempty"`
	// IdleSeconds without a byte, and MinBytesPerSecond on average after the first
	// minute, end an upload's request.
	IdleSeconds       int   `json:"idleSeconds,omitempty"`
	MinBytesPerSecond int64 `json:"minBytesPerSecond,omitempty"`
}

func defaultConfig() *Config {
	return &Config{
		Jobs: JobConfig{DeletionPolicy: v1alpha1.DeletionDelete},
		Limits: Limits{
			VideoBytes: 64 << 30, Uploads: 16, UploadsPerUser: 4, Joins: 2, Downloads: 64, Streams: 1000, StreamsPerUser: 20,
			Exports: 2, ExportBytes: 1 << 30, ExportMotionBytes: 128 << 20, ExportTime: metav1.Duration{Duration: 10 * time.Minute},
			RequestsPerMinute: 600, AddressRequestsPerMinute: 1200,
			UploadExpires: metav1.Duration{Duration: 24 * time.Hour}, LinkExpires: metav1.Duration{Duration: 15 * time.Minute},
			IdleSeconds: 30, MinBytesPerSecond: 4096,
		},
	}
}

// readConfig reads and checks the configuration. Unknown fields are errors: a mistyped
// policy must not pass for an absent one.
func readConfig(path string) (*Config, error) {
	raw, err := os.ReadFile(path) //nolint:gosec // the path is the admin's own flag
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	c := defaultConfig()
	if err := yaml.UnmarshalStrict(raw, c); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	return c, nil
}

func (c *Config) check() error {
	for _, f := range []func() error{c.checkURL, c.checkAuth, c.checkJobs, c.checkLimits} {
		if err := f(); err != nil {
			return err
		}
	}
	if c.Namespaces.Default == "" {
		return fmt.Errorf("namespaces.default must be set: where jobs are made")
	}
	if len(c.KeyFiles) == 0 {
		return fmt.Errorf("keyFiles must name at least one file of 32 or more random bytes")
	}
	if _, err := prefixes("trustedProxies", c.TrustedProxies); err != nil {
		return err
	}
	if c.TLS != nil && (c.TLS.CertFile == "" || c.TLS.KeyFile == "") {
		return fmt.Errorf("tls needs certFile and keyFile")
	}
	return nil
}

func (c *Config) checkURL() error {
	u, err := url.Parse(c.PublicURL)
	if err != nil || u.Host == "" || u.User != nil || (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.Fragment != "" ||
		(u.Scheme != "https" && u.Scheme != "http") {
		return fmt.Errorf("publicURL is %q: it must be https://host, or http://host for a network that is trusted", c.PublicURL)
	}
	for _, o := range c.CORSOrigins {
		u, err := url.Parse(o)
		if err != nil || u.Host == "" || u.Scheme+"://"+u.Host != o {
			return fmt.Errorf("corsOrigins has %q: each must be an origin, as https://app.example.org", o)
		}
	}
	return nil
}

func (c *Config) checkAuth() error {
	a := &c.Auth
	if a.Tokens == nil && a.OIDC == nil && a.Proxy == nil {
		return fmt.Errorf("auth has neither tokens, oidc nor proxy: nobody could use the service")
	}
	if o := a.OIDC; o != nil {
		if o.Issuer == "" || o.ClientID == "" {
			return fmt.Errorf("auth.oidc needs issuer and clientID")
		}
		o.UsernameClaim = orDefault(o.UsernameClaim, "sub")
		o.GroupsClaim = orDefault(o.GroupsClaim, "groups")
		if o.Session.Duration == 0 {
			o.Session.Duration = 8 * time.Hour
		}
		if o.Session.Duration < time.Minute || o.Session.Duration > 7*24*time.Hour {
			return fmt.Errorf("auth.oidc.session is %s: it must be from 1m to 168h", o.Session.Duration)
		}
	}
	if p := a.Proxy; p != nil {
		if len(p.From) == 0 || p.SecretFile == "" {
			return fmt.Errorf("auth.proxy needs from and secretFile: headers are believed of nobody else")
		}
		if _, err := prefixes("auth.proxy.from", p.From); err != nil {
			return err
		}
		p.SecretHeader = orDefault(p.SecretHeader, "X-Proxy-Secret")
		p.UserHeader = orDefault(p.UserHeader, "X-Forwarded-User")
		p.GroupsHeader = orDefault(p.GroupsHeader, "X-Forwarded-Groups")
	}
	return nil
}

func (c *Config) checkJobs() error {
	if !slices.Contains([]v1alpha1.Overlay{"", v1alpha1.OverlayNone, v1alpha1.OverlayBlurred, v1alpha1.OverlayFull}, c.Jobs.Overlay) {
		return fmt.Errorf("jobs.overlay is %q: it must be None, Blurred or Full", c.Jobs.Overlay)
	}
	if !slices.Contains([]v1alpha1.DeletionPolicy{v1alpha1.DeletionDelete, v1alpha1.DeletionRetain}, c.Jobs.DeletionPolicy) {
		return fmt.Errorf("jobs.deletionPolicy is %q: it must be Delete or Retain", c.Jobs.DeletionPolicy)
	}
	return nil
}

func (c *Config) checkLimits() error {
	l := c.Limits
	for name, v := range map[string]int64{
		"videoBytes": l.VideoBytes, "uploads": int64(l.Uploads), "uploadsPerUser": int64(l.UploadsPerUser), "joins": int64(l.Joins), "downloads": int64(l.Downloads),
		"exports": int64(l.Exports), "exportBytes": l.ExportBytes, "exportMotionBytes": l.ExportMotionBytes,
		"streams": int64(l.Streams), "streamsPerUser": int64(l.StreamsPerUser), "requestsPerMinute": int64(l.RequestsPerMinute),
		"addressRequestsPerMinute": int64(l.AddressRequestsPerMinute), "idleSeconds": int64(l.IdleSeconds), "minBytesPerSecond": l.MinBytesPerSecond,
	} {
		if v < 1 {
			return fmt.Errorf("limits.%s is %d: it must be at least 1", name, v)
		}
	}
	// What the store's own largest object is.
	if l.VideoBytes > 5<<40 {
		return fmt.Errorf("limits.videoBytes is %d: stores take objects of 5 TiB at most", l.VideoBytes)
	}
	if d := l.ExportTime.Duration; d < time.Second || d > 24*time.Hour {
		return fmt.Errorf("limits.exportTime is %s: it must be from 1s to 24h", d)
	}
	if l.UploadExpires.Duration < time.Minute || l.LinkExpires.Duration < 10*time.Second || l.LinkExpires.Duration > 24*time.Hour {
		return fmt.Errorf("limits.uploadExpires must be at least 1m, and limits.linkExpires from 10s to 24h")
	}
	return nil
}

func orDefault(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func prefixes(field string, texts []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, t := range texts {
		p, err := netip.ParsePrefix(strings.TrimSpace(t))
		if err != nil {
			return nil, fmt.Errorf("%s has %q: each must be a network, as 10.0.0.0/8 or 10.1.2.3/32", field, t)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}
