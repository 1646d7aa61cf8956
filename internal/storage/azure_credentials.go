package storage

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

// What AKS's workload identity sets in the containers of a service account.
const (
	envAzureClient    = "AZURE_CLIENT_ID"
	envAzureTenant    = "AZURE_TENANT_ID"
	envAzureFile      = "AZURE_FEDERATED_TOKEN_FILE"
	envAzureAuthority = "AZURE_AUTHORITY_HOST"
)

// azureScope lets a token use blob storage and no more.
const azureScope = "https://storage.azure.com/.default"

// azureAuthorities are the token servers of Azure's clouds. No other is given the
// service account's token.
var azureAuthorities = []string{"login.microsoftonline.com", "login.microsoftonline.us", "login.partner.microsoftonline.cn", "login.chinacloudapi.cn"}

var azureTenant = regexp.MustCompile(`^[A-Za-z0-9.-]{1,253}$`)

// azureClient takes the account's key or the SAS token of the Secret. A node's
// instance metadata is never asked.
func azureClient(target string, o Options, transport http.RoundTripper) (*container.Client, access, error) {
	options := &container.ClientOptions{ClientOptions: azureOptionsOf(transport)}
	c, err := secretKeys(o.CredentialsDir, fileAzureKey, fileAzureSAS)
	if err != nil {
		return nil, access{}, err
	}
	key, sas := c[fileAzureKey], strings.TrimPrefix(c[fileAzureSAS], "?")
	switch {
	case key != "" && sas != "":
		return nil, access{}, &Error{Kind: Forbidden, Cause: fmt.Sprintf("the location's Secret has both keys %s and %s: leave one", fileAzureKey, fileAzureSAS)}
	case key != "":
		shared, err := container.NewSharedKeyCredential(o.Store.AzureAccount, key)
		if err != nil {
			return nil, access{}, &Error{Kind: Forbidden, Cause: fmt.Sprintf("key %s of the location's Secret is not an account's key (base64)", fileAzureKey)}
		}
		client, err := container.NewClientWithSharedKeyCredential(target, shared, options)
		return client, access{}, err
	case sas != "":
		if q, err := url.ParseQuery(sas); err != nil || q.Get("sig") == "" {
			return nil, access{}, &Error{Kind: Forbidden, Cause: fmt.Sprintf("key %s of the location's Secret is not a SAS token", fileAzureSAS)}
		}
		client, err := container.NewClientWithNoCredential(target+"?"+sas, options)
		return client, access{}, err
	case o.Store.WorkloadIdentity && os.Getenv(envAzureFile) != "":
		credential, err := azureIdentity(transport)
		if err != nil {
			return nil, access{}, err
		}
		client, err := container.NewClient(target, credential, options)
		return client, access{how: "the Azure identity of the pod's service account was used"}, err
	}
	how := anonymous
	if o.Store.WorkloadIdentity {
		how.how = fmt.Sprintf("no Secret is named for it, and the pod's service account has no Azure identity (%s is not set), so it was asked for anonymously", envAzureFile)
	}
	client, err := container.NewClientWithNoCredential(target, options)
	return client, how, err
}

// azureFederation exchanges the token of the pod's service account for one of
// Azure's (RFC 7523, client assertion).
type azureFederation struct {
	client           *http.Client
	tokenURL         string
	clientID, source string
}

func azureIdentity(transport http.RoundTripper) (azcore.TokenCredential, error) {
	authority := os.Getenv(envAzureAuthority)
	if authority == "" {
		authority = "https://" + azureAuthorities[0]
	}
	u, err := url.Parse(authority)
	if err != nil || u.Scheme != "https" || u.User != nil || !slices.Contains(azureAuthorities, u.Host) {
		return nil, &Error{Kind: Refused, Cause: fmt.Sprintf("%s is none of Azure's own: no other server is asked for tokens", envAzureAuthority)}
	}
	tenant := os.Getenv(envAzureTenant)
	if !azureTenant.MatchString(tenant) || os.Getenv(envAzureClient) == "" {
		return nil, &Error{Kind: Forbidden, Cause: fmt.Sprintf("the pod's Azure identity is incomplete: %s or %s is not set", envAzureTenant, envAzureClient)}
	}
	return &azureToken{azureFederation{
		client:   &http.Client{Transport: transport, CheckRedirect: noRedirect, Timeout: identityTime},
		tokenURL: "https://" + u.Host + "/" + tenant + "/oauth2/v2.0/token",
		clientID: os.Getenv(envAzureClient), source: os.Getenv(envAzureFile),
	}.tokens()}, nil
}

func (f azureFederation) tokens() *tokens {
	return &tokens{fetch: func(ctx context.Context) (token, error) {
		t, err := f.exchange(ctx)
		if err != nil {
			err = identityError(err)
		}
		return t, err
	}}
}

func (f azureFederation) exchange(ctx context.Context) (token, error) {
	assertion, err := readToken(f.source)
	if err != nil {
		return token{}, err
	}
	r, err := postForm(ctx, f.tokenURL, url.Values{
		"grant_type": {"client_credentials"}, "client_id": {f.clientID}, "scope": {azureScope},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {assertion},
	})
	if err != nil {
		return token{}, err
	}
	return askToken(f.client, r)
}

// azureToken is tokens as the SDK wants them.
type azureToken struct{ tokens *tokens }

func (a *azureToken) GetToken(ctx context.Context, _ policy.TokenRequestOptions) (azcore.AccessToken, error) {
	t, err := a.tokens.get(ctx)
	return azcore.AccessToken{Token: t.value, ExpiresOn: t.expires}, err
}
