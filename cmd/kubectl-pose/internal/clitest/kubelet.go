package clitest

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Kubelet plays the part of a node that has logs and runs commands. The API server asks
// it as it asks a real one: GET /containerLogs/NAMESPACE/POD/CONTAINER, and POST
// /exec/NAMESPACE/POD/CONTAINER. What is nil it does not know.
func (s *Server) Kubelet(t *testing.T, node string, logs http.HandlerFunc, exec Exec) {
	t.Helper()
	mux := http.NewServeMux()
	if logs != nil {
		mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", logs)
	}
	if exec != nil {
		mux.HandleFunc("POST /exec/{namespace}/{pod}/{container}", exec.serve(t))
	}
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	o := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}
	if err := s.Client.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	o.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}}
	o.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(n)
	if err := s.Client.Status().Update(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

// Pod of an attempt on a node, as the operator makes one.
func (s *Server) Pod(t *testing.T, node, name string, phase corev1.PodPhase) {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.PodSpec{NodeName: node, InitContainers: []corev1.Container{{Name: "fetch", Image: "i"}}, Containers: []corev1.Container{{Name: "engine", Image: "i"}, {Name: "deliver", Image: "i"}}},
	}
	if err := s.Client.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	pod.Status.Phase = phase
	if err := s.Client.Status().Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
}
