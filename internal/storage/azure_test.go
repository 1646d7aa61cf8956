package storage

import (
	"net"
	"os"
	"os/exec"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/pose-dev/pose-operator/internal/report"
	"github.com/pose-dev/pose-operator/internal/storetest"
)

// The account that every Azurite has, as its documentation says.
const (
	azuriteAccount = "devstoreaccount1"
	azuriteKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// azureOptions starts Azure's own emulator (Azurite, MIT). It checks signatures and
// SAS tokens as Azure does, and preconditions; it throttles nothing, replicates
// nothing, and its tokens of workload identity are not tested with it.
func azureOptions(t *testing.T, name string) Options {
	t.Helper()
	binary := os.Getenv("POSE_TEST_AZURITE")
	if _, err := os.Stat(binary); err != nil {
		t.Skip("SKIPPED: POSE_TEST_AZURITE names no azurite-blob (make .tools/bin/azurite/node_modules/.bin/azurite-blob; needs npm)")
	}
	addr := storetest.Address(t)
	host, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command(binary, "--blobHost", host, "--blobPort", port, "--location", t.TempDir(), "--silent", "--disableTelemetry", "--skipApiVersionCheck")
	storetest.Serve(t, addr, cmd)
	o := Options{
		Store:          report.StoreConfig{AzureAccount: azuriteAccount, AzureEndpoint: "http://" + addr + "/" + azuriteAccount},
		CredentialsDir: secret(t, map[string]string{"AZURE_STORAGE_KEY": azuriteKey + "\n"}),
	}
	shared, err := container.NewSharedKeyCredential(azuriteAccount, azuriteKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := container.NewClientWithSharedKeyCredential(o.Store.AzureEndpoint+"/"+name, shared, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Create(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return o
}
