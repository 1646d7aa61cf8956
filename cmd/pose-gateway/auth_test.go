package main

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/pose-dev/pose-operator/cmd/pose-gateway/internal/media"
	"github.com/pose-dev/pose-operator/cmd/pose-gateway/stand"
	"github.com/pose-dev/pose-operator/internal/storetest"
)

type session struct{ User, Namespace, Kind, CSRFToken string }

// TestTokens: a bearer token needs no CSRF token, and its audience counts.
func TestTokens(t *testing.T) {
	g := start(t, nil)
	s := decode[session](t, g.ask(alice, http.MethodGet, "/api/pose/session", http.StatusOK))
	if s.User != "system:serviceaccount:poses:alice" || s.Namespace != "poses" || s.Kind != "Token" || s.CSRFToken != "" {
		t.Errorf("%+v", s)
	}
	for name, header := range map[string]string{
		"no token": "", "another scheme": "Basic " + alice.Token, "an empty one": "Bearer ", "a long one": "Bearer " + strings.Repeat("x", 9000), "a changed one": "Bearer " + alice.Token[:len(alice.Token)-6] + "AAAAAA",
		"that of the API server": "Bearer " + kube.BearerToken,
	} {
		a := g.ask(nil, http.MethodGet, "/api/pose/session", http.StatusUnauthorized, "Authorization", header)
		if a.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: no WWW-Authenticate", name)
		}
	}
	other := start(t, map[string]any{"auth": map[string]any{"tokens": map[string]any{"audiences": []string{"somebody-else"}}}})
	other.ask(alice, http.MethodGet, "/api/pose/session", http.StatusUnauthorized)
	g.ask(nil, http.MethodGet, "/api/pose/login", http.StatusNotFound)
}

// TestProxy: headers are believed of the proxy alone, and what browsers send by
// themselves needs a CSRF token.
func TestProxy(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("a-secret-of-the-proxy\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := func(from string) map[string]any {
		return map[string]any{"auth": map[string]any{"proxy": map[string]any{"from": []string{from}, "secretFile": secret, "usernamePrefix": ""}}}
	}
	g := start(t, config("127.0.0.1/32"))
	// Known to RBAC as alice's own name is not: names of Kubernetes come from it alone.
	for name, c := range map[string]struct {
		headers []string
		status  int
	}{
		"no headers":      {nil, 401},
		"no secret":       {[]string{"X-Forwarded-User", "ann"}, 401},
		"another secret":  {[]string{"X-Forwarded-User", "ann", "X-Proxy-Secret", "a-secret-of-the-pr0xy"}, 401},
		"the secret":      {[]string{"X-Forwarded-User", "ann", "X-Proxy-Secret", "a-secret-of-the-proxy"}, 200},
		"a system's user": {[]string{"X-Forwarded-User", "system:serviceaccount:poses:alice", "X-Proxy-Secret", "a-secret-of-the-proxy"}, 403},
		// Would be all-powerful, were it taken.
		"a system's group": {[]string{"X-Forwarded-User", "ann", "X-Forwarded-Groups", "system:masters", "X-Proxy-Secret", "a-secret-of-the-proxy"}, 200},
	} {
		if a := g.do(g.request(nil, http.MethodGet, "/api/pose/session", nil, c.headers...)); a.StatusCode != c.status {
			t.Errorf("%s: %s %s", name, a.Status, a.body)
		}
	}
	ann := []string{"X-Forwarded-User", "ann", "X-Forwarded-Groups", "system:masters, team", "X-Proxy-Secret", "a-secret-of-the-proxy"}
	g.ask(nil, http.MethodGet, "/api/pose/jobs", http.StatusForbidden, ann...)
	s := decode[session](t, g.ask(nil, http.MethodGet, "/api/pose/session", http.StatusOK, ann...))
	if s.Kind != "Proxy" || s.CSRFToken == "" {
		t.Fatalf("%+v", s)
	}
	g.ask(nil, http.MethodPost, "/api/pose/logout", http.StatusForbidden, ann...)
	g.ask(nil, http.MethodPost, "/api/pose/logout", http.StatusForbidden, append(ann, "X-CSRF-Token", s.CSRFToken+"x")...)
	g.ask(nil, http.MethodPost, "/api/pose/logout", http.StatusForbidden, append(ann, "X-CSRF-Token", s.CSRFToken, "Sec-Fetch-Site", "cross-site")...)
	g.ask(nil, http.MethodPost, "/api/pose/logout", http.StatusForbidden, append(ann, "X-CSRF-Token", s.CSRFToken, "Origin", "https://evil.example")...)
	g.ask(nil, http.MethodPost, "/api/pose/logout", http.StatusNoContent, append(ann, "X-CSRF-Token", s.CSRFToken)...)
	// Another user's token is no good.
	ben := append([]string{"X-Forwarded-User", "ben"}, ann[2:]...)
	g.ask(nil, http.MethodPost, "/api/pose/logout", http.StatusForbidden, append(ben, "X-CSRF-Token", s.CSRFToken)...)

	elsewhere := start(t, config("10.0.0.0/8"))
	elsewhere.ask(nil, http.MethodGet, "/api/pose/session", http.StatusUnauthorized, ann...)
	elsewhere.ask(nil, http.MethodGet, "/api/pose/session", http.StatusUnauthorized, append(ann, "X-Forwarded-For", "10.1.2.3")...)
}

// provider is an OpenID Connect provider that believes everybody, and whose ID tokens a
// test may change.
type provider struct {
	*httptest.Server
	t     *testing.T
	key   *rsa.PrivateKey
	mu    sync.Mutex
	codes map[string]url.Values
	edit  func(claims map[string]any)
}

func newProvider(t *testing.T) *provider {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{t: t, key: key, codes: map[string]url.Values{}}
	mux := http.NewServeMux()
	say := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		say(w, map[string]any{"issuer": p.URL, "authorization_endpoint": p.URL + "/auth", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys", "id_token_signing_alg_values_supported": []string{"RS256"}})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		say(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &key.PublicKey, KeyID: "k", Algorithm: "RS256", Use: "sig"}}})
	})
	mux.HandleFunc("/auth", func(w http.ResponseWriter, r *http.Request) {
		code := rand.Text()
		p.mu.Lock()
		p.codes[code] = r.URL.Query()
		p.mu.Unlock()
		http.Redirect(w, r, r.URL.Query().Get("redirect_uri")+"?"+url.Values{"code": {code}, "state": {r.URL.Query().Get("state")}}.Encode(), http.StatusFound)
	})
	mux.HandleFunc("/token", p.token(say))
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

func (p *provider) token(say func(http.ResponseWriter, any)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		q, ok := p.codes[r.FormValue("code")]
		delete(p.codes, r.FormValue("code"))
		if !ok || q.Get("code_challenge_method") != "S256" || q.Get("code_challenge") != challenge(r.FormValue("code_verifier")) {
			http.Error(w, `{"error":"invalid_grant"}`, http.StatusBadRequest)
			return
		}
		claims := map[string]any{"iss": p.URL, "aud": "pose", "sub": "ann", "nonce": q.Get("nonce"), "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(), "groups": []string{"runners", "system:masters"}}
		if p.edit != nil {
			p.edit(claims)
		}
		raw, _ := json.Marshal(claims)
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: p.key, KeyID: "k"}}, nil)
		if err != nil {
			p.t.Error(err)
			return
		}
		signed, _ := signer.Sign(raw)
		text, _ := signed.CompactSerialize()
		say(w, map[string]any{"access_token": "x", "token_type": "Bearer", "expires_in": 60, "id_token": text})
	}
}

// browser keeps cookies, and follows redirections.
func browser(t *testing.T) *http.Client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar}
}

func (g *gateway) browse(c *http.Client, method, path string, headers ...string) *answer {
	g.t.Helper()
	resp, err := c.Do(g.request(nil, method, path, nil, headers...))
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	_, _ = b.ReadFrom(resp.Body)
	return &answer{resp, b.Bytes()}
}

func startOIDC(t *testing.T, p *provider) *gateway {
	t.Helper()
	addr, err := storetest.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return startAt(t, addr, map[string]any{
		"publicURL": "http://" + addr,
		"auth": map[string]any{
			"tokens": map[string]any{"audiences": []string{stand.Audience}},
			"oidc":   map[string]any{"issuer": p.URL, "clientID": "pose", "usernamePrefix": "oidc:", "groupsPrefix": "oidc:", "namespaceClaim": "ns"},
		},
	})
}

func TestLogin(t *testing.T) {
	p := newProvider(t)
	g := startOIDC(t, p)
	if err := stand.Grant(t.Context(), root, stand.Namespace, "runners", "Group", "oidc:runners", alice.Verbs); err != nil {
		t.Fatal(err)
	}
	c := browser(t)
	if a := g.browse(c, http.MethodGet, "/api/pose/session"); a.StatusCode != http.StatusUnauthorized {
		t.Fatalf("before: %s", a.Status)
	}
	a := g.browse(c, http.MethodGet, "/api/pose/login?return="+url.QueryEscape("/api/pose/session?x=1"))
	s := decode[session](t, a)
	if a.Request.URL.RequestURI() != "/api/pose/session?x=1" || s.User != "oidc:ann" || s.Kind != "Login" || s.CSRFToken == "" {
		t.Fatalf("after: %s %+v", a.Request.URL, s)
	}
	jar, _ := url.Parse(g.url)
	for _, k := range c.Jar.Cookies(jar) {
		if strings.Contains(k.Value, "ann") {
			t.Errorf("cookie %s shows the user", k.Name)
		}
	}
	if a := g.browse(c, http.MethodGet, "/api/pose/jobs"); a.StatusCode != http.StatusOK {
		t.Errorf("jobs: %s %s", a.Status, a.body)
	}
	job := g.uploaded(1000, nil)
	if a := g.browse(c, http.MethodPost, job.Links.Cancel); a.StatusCode != http.StatusForbidden {
		t.Errorf("without a CSRF token: %s", a.Status)
	}
	if a := g.browse(c, http.MethodPost, job.Links.Cancel, "X-CSRF-Token", s.CSRFToken, "Sec-Fetch-Site", "same-site"); a.StatusCode != http.StatusForbidden {
		t.Errorf("from a neighbour's page: %s", a.Status)
	}
	if a := g.browse(c, http.MethodPost, job.Links.Cancel, "X-CSRF-Token", s.CSRFToken, "Sec-Fetch-Site", "same-origin"); a.StatusCode != http.StatusOK {
		t.Errorf("with it: %s %s", a.Status, a.body)
	}
	// A bad bearer token is not passed over for the cookie.
	if a := g.browse(c, http.MethodGet, "/api/pose/jobs", "Authorization", "Bearer x"); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("a bad token beside a good cookie: %s", a.Status)
	}
	// A link that was made for alice is not ann's.
	done, _ := g.finished(map[string][]byte{"pose.json": []byte("{}")})
	list := decode[media.Results](t, g.ask(alice, http.MethodGet, done.Links.Self+"/results", http.StatusOK))
	if a := g.browse(c, http.MethodGet, list.Files[0].URL); a.StatusCode != http.StatusForbidden {
		t.Errorf("another user's link: %s", a.Status)
	}
	if a := g.browse(c, http.MethodPost, "/api/pose/logout", "X-CSRF-Token", s.CSRFToken); a.StatusCode != http.StatusNoContent {
		t.Errorf("logout: %s", a.Status)
	}
	if a := g.browse(c, http.MethodGet, "/api/pose/session"); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("after the logout: %s", a.Status)
	}
}

// TestLoginsThatAreRefused changes what the identity provider says.
func TestLoginsThatAreRefused(t *testing.T) {
	p := newProvider(t)
	g := startOIDC(t, p)
	for name, edit := range map[string]func(map[string]any){
		"another audience":   func(c map[string]any) { c["aud"] = "other" },
		"another issuer":     func(c map[string]any) { c["iss"] = "https://evil.example" },
		"another nonce":      func(c map[string]any) { c["nonce"] = "x" },
		"an old token":       func(c map[string]any) { c["exp"] = time.Now().Add(-time.Hour).Unix() },
		"nobody":             func(c map[string]any) { delete(c, "sub") },
		"a name with breaks": func(c map[string]any) { c["sub"] = "a\nb" },
	} {
		p.edit = edit
		c := browser(t)
		if a := g.browse(c, http.MethodGet, "/api/pose/login"); a.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %s %s", name, a.Status, a.body)
		}
		if a := g.browse(c, http.MethodGet, "/api/pose/session"); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: a session all the same", name)
		}
	}
	p.edit = nil
	for name, query := range map[string]string{"no state": "code=x", "another state": "code=x&state=y", "nothing": ""} {
		if a := g.ask(nil, http.MethodGet, "/api/pose/login/callback?"+query, http.StatusBadRequest); a.Header.Get("Set-Cookie") != "" {
			t.Errorf("%s: a cookie is set", name)
		}
	}
	// Begun in one browser, finished in another: somebody else's login is not taken over.
	one, two := browser(t), browser(t)
	stop := func(r *http.Request, _ []*http.Request) error {
		if strings.Contains(r.URL.Path, "callback") {
			return http.ErrUseLastResponse
		}
		return nil
	}
	one.CheckRedirect = stop
	a := g.browse(one, http.MethodGet, "/api/pose/login")
	back, err := url.Parse(a.Header.Get("Location"))
	if err != nil || a.StatusCode != http.StatusFound {
		t.Fatal(err, a.Status)
	}
	if a := g.browse(two, http.MethodGet, back.RequestURI()); a.StatusCode != http.StatusBadRequest {
		t.Errorf("in another browser: %s", a.Status)
	}
	for _, to := range []string{"https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "/\tx"} {
		c := browser(t)
		c.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
			if r.URL.Hostname() == "evil.example" {
				t.Errorf("%q leads elsewhere", to)
				return http.ErrUseLastResponse
			}
			return nil
		}
		if a := g.browse(c, http.MethodGet, "/api/pose/login?return="+url.QueryEscape(to)); a.Request.URL.Path != "/" {
			t.Errorf("%q leads to %s", to, a.Request.URL)
		}
	}
	if a := g.browse(browser(t), http.MethodGet, "/api/pose/session", "Cookie", "pose-session=AAAA"); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("a cookie of somebody's making: %s", a.Status)
	}
}

func TestHeadersAndCORS(t *testing.T) {
	g := start(t, map[string]any{"publicURL": "https://pose.example.org", "corsOrigins": []string{"https://app.example.org"}})
	a := g.ask(nil, http.MethodGet, "/api/pose/config", http.StatusOK)
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "Strict-Transport-Security": "max-age=31536000",
	} {
		if a.Header.Get(name) != want {
			t.Errorf("%s is %q", name, a.Header.Get(name))
		}
	}
	if csp := a.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
		t.Errorf("CSP %q", csp)
	}
	preflight := []string{"Access-Control-Request-Method", "PATCH", "Access-Control-Request-Headers", "authorization"}
	ok := g.do(g.request(nil, http.MethodOptions, "/api/pose/uploads/x", nil, append(preflight, "Origin", "https://app.example.org")...))
	if ok.StatusCode != http.StatusNoContent || ok.Header.Get("Access-Control-Allow-Origin") != "https://app.example.org" || ok.Header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("%s %v", ok.Status, ok.Header)
	}
	for _, origin := range []string{"https://evil.example", "null", "https://app.example.org.evil.example"} {
		if a := g.do(g.request(nil, http.MethodGet, "/api/pose/config", nil, "Origin", origin)); a.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s is allowed", origin)
		}
	}
	for path, status := range map[string]int{"/nosuch": 404, "/api/nosuch": 404, "/assets/x.js": 404, "/index.html%00": 404, "/assets/..%2f..%2fmain.go": 404} {
		g.ask(nil, http.MethodGet, path, status)
	}
	if a := g.ask(nil, http.MethodPut, "/api/pose/jobs", http.StatusMethodNotAllowed); a.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("Allow: %q", a.Header.Get("Allow"))
	}
	none := start(t, nil)
	if a := none.do(none.request(nil, http.MethodGet, "/api/pose/config", nil, "Origin", "https://app.example.org")); a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("origins are allowed without configuration")
	}
}

func TestRateLimits(t *testing.T) {
	g := start(t, map[string]any{"limits": map[string]any{"requestsPerMinute": 40, "addressRequestsPerMinute": 400}, "trustedProxies": []string{"127.0.0.0/8"}})
	limited := func(u *stand.User, from string, n int) int {
		count := 0
		for range n {
			a := g.do(g.request(u, http.MethodGet, "/api/pose/session", nil, "X-Forwarded-For", from))
			if a.StatusCode == http.StatusTooManyRequests {
				if count++; a.Header.Get("Retry-After") == "" {
					t.Error("nothing says when to come again")
				}
			}
		}
		return count
	}
	if n := limited(alice, "192.0.2.1", 20); n < 5 {
		t.Errorf("alice: %d of 20 refused", n)
	}
	if n := limited(bob, "192.0.2.1", 5); n != 0 {
		t.Errorf("bob: %d of 5 refused for what alice did", n)
	}
	if n := limited(nil, "192.0.2.2", 150); n < 40 {
		t.Errorf("an address: %d of 150 refused", n)
	}
	// A client cannot say that it is another: the last hop counts.
	if n := limited(nil, "198.51.100.7, 192.0.2.2", 5); n == 0 {
		t.Error("an address that a client made up is believed")
	}
	if n := limited(nil, "192.0.2.3", 5); n != 0 {
		t.Errorf("another address: %d of 5 refused", n)
	}
}

// TestLogs hold no tokens and no links.
func TestLogs(t *testing.T) {
	name := os.Getenv("POSE_TEST_LOG")
	if name == "" {
		t.Skip("SKIPPED: POSE_TEST_LOG names no file")
	}
	g := start(t, nil)
	job, _ := g.finished(map[string][]byte{"pose.json": []byte("{}")})
	list := decode[media.Results](t, g.ask(alice, http.MethodGet, job.Links.Self+"/results", http.StatusOK))
	g.ask(nil, http.MethodGet, list.Files[0].URL, http.StatusOK)
	g.ask(nil, http.MethodGet, list.Files[0].URL+"x", http.StatusOK)
	g.ask(nil, http.MethodGet, "/api/pose/jobs?continue=secretquery", http.StatusUnauthorized)
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	link := strings.Split(list.Files[0].URL, "/")[4]
	for _, secret := range []string{alice.Token, link, "secretquery", "admin-secret"} {
		if bytes.Contains(raw, []byte(secret)) {
			t.Errorf("the log holds %.20s...", secret)
		}
	}
	if !bytes.Contains(raw, []byte("GET /api/pose/media/{link}/{file}")) {
		t.Error("the log does not tell of requests")
	}
}
