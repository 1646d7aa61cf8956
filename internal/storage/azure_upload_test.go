package storage

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
)

func isBlock(r *http.Request) bool {
	return r.Method == http.MethodPut && r.URL.Query().Get("comp") == "block"
}

func isCommit(r *http.Request) bool {
	return r.Method == http.MethodPut && r.URL.Query().Get("comp") == "blocklist"
}

// TestAzureBrokenBlocks breaks each block once, and loses the answer to the list of
// them: what broke alone is sent again.
func TestAzureBrokenBlocks(t *testing.T) {
	o := azureOptions(t, "results")
	target := strings.TrimSuffix(o.Store.AzureEndpoint, "/"+azuriteAccount)
	var (
		mu   sync.Mutex
		seen = map[string]int{}
	)
	srv := between(t, target, func(w http.ResponseWriter, r *http.Request) bool {
		if !isBlock(r) && !isCommit(r) {
			return false
		}
		id := r.URL.Query().Get("blockid")
		mu.Lock()
		seen[id]++
		first, all := seen[id] == 1, len(seen)
		mu.Unlock()
		switch {
		case !first:
			return false
		case isCommit(r):
			r.Header.Set("X-Test-Target", target)
			lose(w, r)
		case all == 1:
			w.Header().Set("X-Ms-Error-Code", "ServerBusy")
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		panic(http.ErrAbortHandler)
	})
	o.Store.AzureEndpoint = srv.URL + "/" + azuriteAccount
	sink, _ := hurry(t, "azblob://results/a", o)
	if err := putLarge(t.Context(), sink); err != nil {
		t.Fatal(err)
	}
	expectLarge(t, sink)
	for id, n := range seen {
		if n != 2 {
			t.Errorf("%q was sent %d times", id, n)
		}
	}
	if len(seen) != 4 {
		t.Errorf("%d blocks and lists", len(seen))
	}
}

// TestAzureCredentials are checked by the emulator as Azure checks them.
func TestAzureCredentials(t *testing.T) {
	o := azureOptions(t, "results")
	sink, _ := hurry(t, "azblob://results/a", o)
	if err := sink.Put(t.Context(), object("b", []byte("x")), strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	shared, err := container.NewSharedKeyCredential(azuriteAccount, azuriteKey)
	if err != nil {
		t.Fatal(err)
	}
	token := func(expires time.Duration, permissions string) string {
		q, err := sas.BlobSignatureValues{
			Protocol: sas.ProtocolHTTPSandHTTP, StartTime: time.Now().Add(-2 * time.Hour).UTC(), ExpiryTime: time.Now().Add(expires).UTC(), Permissions: permissions, ContainerName: "results",
		}.SignWithSharedKey(shared)
		if err != nil {
			t.Fatal(err)
		}
		return q.Encode()
	}
	for name, tc := range map[string]struct {
		keys map[string]string
		kind Kind // Other is for success
		want string
	}{
		"SAS token":              {map[string]string{"AZURE_STORAGE_SAS_TOKEN": token(time.Hour, "rcwdl")}, Other, ""},
		"SAS token of a URL":     {map[string]string{"AZURE_STORAGE_SAS_TOKEN": "?" + token(time.Hour, "rcwdl") + "\n"}, Other, ""},
		"expired SAS token":      {map[string]string{"AZURE_STORAGE_SAS_TOKEN": token(-time.Hour, "rcwdl")}, Forbidden, "has expired"},
		"SAS token for reading":  {map[string]string{"AZURE_STORAGE_SAS_TOKEN": token(time.Hour, "r")}, Forbidden, "403"},
		"wrong key":              {map[string]string{"AZURE_STORAGE_KEY": "c2VjcmV0"}, Forbidden, "wrong or has expired"},
		"key that is none":       {map[string]string{"AZURE_STORAGE_KEY": "%%"}, Forbidden, "not an account's key"},
		"SAS token that is none": {map[string]string{"AZURE_STORAGE_SAS_TOKEN": "hello"}, Forbidden, "not a SAS token"},
		"both":                   {map[string]string{"AZURE_STORAGE_SAS_TOKEN": "sig=x", "AZURE_STORAGE_KEY": "c2VjcmV0"}, Forbidden, "leave one"},
		"neither":                {map[string]string{"AWS_ACCESS_KEY_ID": "x"}, Forbidden, "none of the keys"},
		"none":                   {nil, Forbidden, "anonymously"},
	} {
		o := o
		o.CredentialsDir = secret(t, tc.keys)
		sink, err := OpenSink("azblob://results/a", o)
		if err == nil {
			err = sink.Put(t.Context(), object("b", []byte("y")), strings.NewReader("y"))
		}
		if tc.want == "" && err == nil {
			continue
		}
		if err == nil || KindOf(err) != tc.kind || Temporary(err) || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "sig=") {
			t.Errorf("%s: kind %d: %v", name, KindOf(err), err)
		}
	}
	noAccount := o
	noAccount.Store.AzureAccount = ""
	if _, err := OpenSink("azblob://results/a", noAccount); KindOf(err) != Refused || !strings.Contains(err.Error(), "config.store.azureAccount") {
		t.Errorf("error %v", err)
	}
	if _, err := OpenSink("azblob://Results/a", o); KindOf(err) != Refused {
		t.Errorf("error %v", err)
	}
}
