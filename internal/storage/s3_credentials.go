package storage

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// What EKS sets in the containers of a service account with a role: of "IAM roles
// for service accounts" the first two, of "EKS Pod Identity" the others.
const (
	envRoleARN       = "AWS_ROLE_ARN"
	envTokenFile     = "AWS_WEB_IDENTITY_TOKEN_FILE" //nolint:gosec // the name of a variable
	envContainerURI  = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
	envContainerFile = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
)

// podIdentityHosts are the addresses of EKS Pod Identity's agent. Everything else
// that the variable may name, a node's instance metadata above all, is refused.
var podIdentityHosts = []string{"169.254.170.23", "fd00:ec2::23"}

// renewBefore is how long before their end temporary credentials are renewed: a
// request that is under way then ends with good ones.
const renewBefore = 5 * time.Minute

// s3Credentials takes those of the Secret. The SDK's own chain, which ends at the
// node's instance metadata, is never asked.
func s3Credentials(o Options, transport http.RoundTripper) (aws.CredentialsProvider, access, error) {
	c, err := secretKeys(o.CredentialsDir, fileAccessKey, fileSecretKey, fileSessionToken)
	if err != nil {
		return nil, access{}, err
	}
	id, secret := c[fileAccessKey], c[fileSecretKey]
	switch {
	case id != "" && secret != "":
		return credentials.NewStaticCredentialsProvider(id, secret, c[fileSessionToken]), access{}, nil
	case id != "" || secret != "" || c[fileSessionToken] != "":
		return nil, access{}, &Error{Kind: Forbidden, Cause: fmt.Sprintf("the location's Secret needs both keys %s and %s", fileAccessKey, fileSecretKey)}
	case !o.Store.WorkloadIdentity:
		return aws.AnonymousCredentials{}, anonymous, nil
	}
	return awsIdentity(o, transport)
}

// awsIdentity is the role that EKS gives the pod's service account.
func awsIdentity(o Options, transport http.RoundTripper) (aws.CredentialsProvider, access, error) {
	client := &http.Client{Transport: transport, Timeout: identityTime, CheckRedirect: noRedirect}
	var provider aws.CredentialsProvider
	role, file := os.Getenv(envRoleARN), os.Getenv(envTokenFile)
	uri, tokenFile := os.Getenv(envContainerURI), os.Getenv(envContainerFile)
	switch {
	case role != "" && file != "":
		c := sts.New(sts.Options{
			Region: s3Region(o), BaseEndpoint: stsEndpoint(o.Store.S3Endpoint), HTTPClient: client, Retryer: aws.NopRetryer{},
			Credentials: aws.AnonymousCredentials{},
		})
		provider = stscreds.NewWebIdentityRoleProvider(c, role, identityToken(file), func(w *stscreds.WebIdentityRoleOptions) {
			w.RoleSessionName = "pose-runner"
		})
	case uri != "" && tokenFile != "":
		if err := checkPodIdentity(uri); err != nil {
			return nil, access{}, err
		}
		provider = endpointcreds.New(uri, func(e *endpointcreds.Options) {
			e.HTTPClient, e.Retryer = client, aws.NopRetryer{}
			e.AuthorizationTokenProvider = endpointcreds.TokenProviderFunc(func() (string, error) {
				b, err := identityToken(tokenFile).GetIdentityToken()
				return string(b), err
			})
		})
	default:
		return aws.AnonymousCredentials{}, access{how: fmt.Sprintf(
			"no Secret is named for it, and the pod's service account has no AWS role (neither %s nor %s is set), so it was asked for anonymously", envRoleARN, envContainerURI)}, nil
	}
	cached := aws.NewCredentialsCache(provider, func(c *aws.CredentialsCacheOptions) { c.ExpiryWindow = renewBefore })
	return explained{cached}, access{how: "the AWS role of the pod's service account was used"}, nil
}

// stsEndpoint is Amazon's own, nil, or the admin's server: those that are
// compatible with S3 answer for the token service at the same address.
func stsEndpoint(endpoint string) *string {
	u, err := url.Parse(endpoint)
	if err != nil || endpoint == "" || strings.HasSuffix(u.Hostname(), ".amazonaws.com") || strings.HasSuffix(u.Hostname(), ".amazonaws.com.cn") {
		return nil
	}
	return &endpoint
}

func checkPodIdentity(uri string) error {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "http" || u.User != nil || u.Port() != "" || !slices.Contains(podIdentityHosts, u.Hostname()) {
		return &Error{Kind: Refused, Cause: fmt.Sprintf("%s does not name EKS Pod Identity's agent (http://%s): no other address is asked for credentials", envContainerURI, podIdentityHosts[0])}
	}
	return nil
}

// identityToken is a projected token, which the kubelet renews: it is read anew
// each time.
type identityToken string

func (f identityToken) GetIdentityToken() ([]byte, error) {
	b, err := readToken(string(f))
	return []byte(b), err
}

// explained says of a failure to get credentials that it is one.
type explained struct{ aws.CredentialsProvider }

func (e explained) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := e.CredentialsProvider.Retrieve(ctx)
	if err != nil {
		err = identityError(err)
	}
	return c, err
}
