package storage

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// newTransport makes a transport that trusts caPEM beside the system's roots
// and takes no proxy from the environment. With a guard, addresses are checked
// when they are dialled.
func newTransport(caPEM string, g *guard) (*http.Transport, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if caPEM != "" && !roots.AppendCertsFromPEM([]byte(caPEM)) {
		return nil, fmt.Errorf("the operator's store.caPEM holds no certificate: correct the chart's value")
	}
	open := &net.Dialer{Timeout: 20 * time.Second, KeepAlive: 30 * time.Second}
	t := &http.Transport{
		Proxy:                 nil,
		DialContext:           open.DialContext,
		TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   20 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second,
		MaxIdleConnsPerHost:   8,
		IdleConnTimeout:       60 * time.Second,
		// Parts shall come by connections of their own: HTTP/2 would put all into
		// one, and keeps MiBs of each in memory of its own.
		Protocols: new(http.Protocols),
	}
	t.Protocols.SetHTTP1(true)
	if g != nil {
		t.DialContext = g.dial(open)
	}
	return t, nil
}

// guard keeps a job's URI from reaching into the cluster or to cloud metadata.
type guard struct {
	// allowed are host or host:port patterns; "*.example.com" covers subdomains.
	allowed []string
}

// dial checks the resolved address at dial time, when DNS cannot change its
// answer any more.
func (g *guard) dial(open *net.Dialer) func(context.Context, string, string) (net.Conn, error) {
	guarded := *open
	guarded.Control = func(_, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("address %q is not understood: %w", address, err)
		}
		if why := refusal(ap.Addr()); why != "" {
			return &Error{Kind: Refused, Cause: fmt.Sprintf("the host resolves to %s, which is %s: %s", ap.Addr(), why, remedy(ap.Addr()))}
		}
		return nil
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		if g.allows(host, port) {
			return open.DialContext(ctx, network, address)
		}
		return guarded.DialContext(ctx, network, address)
	}
}

// remedy for an address that is refused. Cloud metadata is for nobody's videos.
func remedy(a netip.Addr) string {
	if a.IsLinkLocalUnicast() {
		return "no video lies there"
	}
	return "the platform admin can allow the host with the chart's value config.store.httpAllowedHosts"
}

func (g *guard) allows(host, port string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, pattern := range g.allowed {
		pattern = strings.ToLower(pattern)
		h, p := pattern, ""
		if ph, pp, err := net.SplitHostPort(pattern); err == nil {
			h, p = ph, pp
		}
		if p != "" && p != port {
			continue
		}
		if h == host || strings.HasPrefix(h, "*.") && strings.HasSuffix(host, h[1:]) {
			return true
		}
	}
	return false
}

// special are ranges that no public server lives in and netip does not name,
// and single public addresses at which clouds serve metadata.
var special = []struct {
	prefix netip.Prefix
	why    string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "this network"},
	{netip.MustParsePrefix("100.64.0.0/10"), "a shared (carrier or cloud) address"},
	{netip.MustParsePrefix("192.0.0.0/24"), "a reserved address"},
	{netip.MustParsePrefix("198.18.0.0/15"), "a benchmarking address"},
	{netip.MustParsePrefix("240.0.0.0/4"), "a reserved address"},
	{netip.MustParsePrefix("168.63.129.16/32"), "a cloud's metadata service"},
	{netip.MustParsePrefix("::/96"), "a reserved address"},
	{netip.MustParsePrefix("64:ff9b::/96"), "a translated (NAT64) address"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "a translated (NAT64) address"},
	{netip.MustParsePrefix("2001::/32"), "a tunnelled (Teredo) address"},
	{netip.MustParsePrefix("2002::/16"), "a tunnelled (6to4) address"},
	{netip.MustParsePrefix("fec0::/10"), "a site-local address"},
}

// refusal says why an address must not be reached, "" when it may.
func refusal(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	switch {
	case a.IsUnspecified():
		return "unspecified"
	case a.IsLoopback():
		return "a loopback address"
	case a.IsPrivate():
		return "a private address"
	case a.IsLinkLocalUnicast():
		return "a link-local (cloud metadata) address"
	case a.IsMulticast():
		return "a multicast address"
	}
	for _, s := range special {
		if s.prefix.Contains(a) {
			return s.why
		}
	}
	return ""
}
