package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/netip"
	"strings"

	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/problem"
)

// Proxy believes the headers of a proxy that signs users in.
type Proxy struct {
	// From are the proxy's addresses. They are those of the connection: no header
	// changes them.
	From []netip.Prefix
	// Secret that the proxy sends in SecretHeader: an address alone proves little in a
	// cluster.
	Secret       []byte
	SecretHeader string
	UserHeader   string
	// GroupsHeader may come several times or hold several groups, separated by commas.
	GroupsHeader            string
	UserPrefix, GroupPrefix string
}

// Peer gives the address of a request's connection.
func Peer(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

// Within says whether an address is in one of the networks.
func Within(a netip.Addr, nets []netip.Prefix) bool {
	for _, n := range nets {
		if a.IsValid() && n.Contains(a) {
			return true
		}
	}
	return false
}

// identify gives nil where the request does not come by the proxy.
func (p *Proxy) identify(r *http.Request) (*User, error) {
	if r.Header.Get(p.UserHeader) == "" {
		return nil, nil //nolint:nilnil // another way may know the user
	}
	got, want := sha256.Sum256([]byte(r.Header.Get(p.SecretHeader))), sha256.Sum256(p.Secret)
	if !Within(Peer(r), p.From) || subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
		return nil, problem.New(http.StatusUnauthorized, "the headers that name a user do not come from the trusted proxy")
	}
	if len(r.Header.Values(p.UserHeader)) != 1 {
		return nil, problem.New(http.StatusUnauthorized, "the proxy names several users: it must replace the header %s that a client sends", p.UserHeader)
	}
	var groups []string
	if p.GroupsHeader != "" {
		for _, v := range r.Header.Values(p.GroupsHeader) {
			for g := range strings.SplitSeq(v, ",") {
				if g = strings.TrimSpace(g); g != "" {
					groups = append(groups, g)
				}
			}
		}
	}
	return named(KindProxy, r.Header.Get(p.UserHeader), groups, p.UserPrefix, p.GroupPrefix)
}
