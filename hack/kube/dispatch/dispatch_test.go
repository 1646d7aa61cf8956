package dispatch

import (
	"slices"
	"testing"
)

func TestPick(t *testing.T) {
	components := []string{"etcd", "kubectl", "kubelet"}
	for name, c := range map[string]struct {
		argv []string
		want string
		args []string
	}{
		"by the link's name":       {[]string{"/x/kubelet", "--v=1"}, "kubelet", []string{"/x/kubelet", "--v=1"}},
		"by the first argument":    {[]string{"/x/kube", "etcd", "--name=a"}, "etcd", []string{"etcd", "--name=a"}},
		"the link's name prevails": {[]string{"kubectl", "etcd"}, "kubectl", []string{"kubectl", "etcd"}},
	} {
		got, args, err := Pick(c.argv, components)
		if err != nil || got != c.want || !slices.Equal(args, c.args) {
			t.Errorf("%s: %s %v %v", name, got, args, err)
		}
	}
	for _, argv := range [][]string{{"kube"}, {"kube", "nosuch"}} {
		if _, _, err := Pick(argv, components); err == nil {
			t.Errorf("%v is taken for a component", argv)
		}
	}
}
