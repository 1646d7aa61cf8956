package posejob_test

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/api/v1alpha1"
	"github.com/pose-dev/pose-operator/controllers/internal/gen"
)

// kubeletSays an event of a pod, by the API that kubelets use.
func (p *place) kubeletSays(pod *corev1.Pod, reason, message string) {
	p.Helper()
	now := metav1.Now()
	p.must(api.Create(ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: p.namespace, GenerateName: pod.Name + "."},
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: p.namespace, Name: pod.Name, UID: pod.UID},
		Type:           corev1.EventTypeWarning, Reason: reason, Message: message,
		FirstTimestamp: now, LastTimestamp: now, Count: 1, Source: corev1.EventSource{Component: "kubelet", Host: "node-1"},
	}))
}

// hangs is a pod that its node has and cannot prepare.
func hangs(container string) *gen.PodBuilder {
	return x().Waiting(container, "ContainerCreating", "").
		Condition(corev1.PodScheduled, corev1.ConditionTrue, "", "", 0).Condition(corev1.PodReadyToStartContainers, corev1.ConditionFalse, "", "", 0)
}

func keyed(j *v1alpha1.PoseJob) {
	j.Spec.Output.CredentialsSecretRef = &v1alpha1.SecretReference{Name: "keys"}
}

// says: the job's one sentence holds the words.
func (p *place) says(job, words string) {
	p.Helper()
	p.eventually(job, func(g Gomega, j *v1alpha1.PoseJob) {
		g.Expect(meta.FindStatusCondition(j.Status.Conditions, v1alpha1.ConditionReady).Message).To(ContainSubstring(words))
	})
}

// A Secret that is missing is named in seconds and waited for once, where no GPU is
// held, and no attempt is made.
func TestAMissingSecretEndsTheLook(t *testing.T) {
	p := newPlace(t).withEngine()
	clock := &shifted{}
	p.options.Clock = clock
	p.start()
	p.submit("run", reusing, keyed)
	look := p.lookup()
	p.play(look, hangs("lookup"))
	p.kubeletSays(look, "FailedMount", `MountVolume.SetUp failed for volume "output-credentials" : secret "keys" not found`)
	clock.move(11 * time.Second)
	p.touch(look)
	p.says("run", "Secret keys (spec.output.credentialsSecretRef) does not exist")
	clock.move(300 * time.Second) // longer than any other look
	p.touch(look)
	p.noAttempt()
	clock.move(300 * time.Second)
	p.touch(look)
	p.eventually("run", func(g Gomega, j *v1alpha1.PoseJob) {
		g.Expect(j.Status.Lookup.Reason).To(Equal(v1alpha1.ReasonSecretMissing))
	})
	p.gone(look)
	j := p.eventually("run", phase(v1alpha1.PhaseFailed))
	p.g.Expect(condition(j, v1alpha1.ConditionFailed)).To(Equal("True/" + v1alpha1.ReasonSecretMissing))
	p.g.Expect(j.Status.Lookup.State).To(Equal(v1alpha1.LookupRefused))
	p.g.Expect(j.Status.Attempts).To(BeEmpty())
	p.says("run", "Secret keys")
}

// One that comes late costs nothing.
func TestASecretThatComesLate(t *testing.T) {
	p := newPlace(t).withEngine()
	clock := &shifted{}
	p.options.Clock = clock
	p.start()
	p.submit("run", reusing, keyed)
	look := p.lookup()
	p.play(look, hangs("lookup"))
	p.kubeletSays(look, "FailedMount", `secret "keys" not found`)
	clock.move(200 * time.Second)
	p.touch(look)
	p.says("run", "Secret keys")
	p.play(look, p.found("run"))
	p.eventually("run", phase(v1alpha1.PhaseSucceeded))
}

// An attempt is not repeated for a Secret that no node can mount.
func TestAMissingSecretEndsTheJob(t *testing.T) {
	p := newPlace(t).withEngine()
	clock := &shifted{}
	p.options.Clock = clock
	p.start()
	p.submit("run", keyed)
	pod := p.pod(1)
	p.play(pod, hangs("copy"))
	p.kubeletSays(pod, "FailedMount", `secret "keys" not found`)
	clock.move(11 * time.Second)
	p.touch(pod)
	p.says("run", "Secret keys (spec.output.credentialsSecretRef) does not exist")
	clock.move(600 * time.Second)
	p.touch(pod)
	p.eventually("run", func(g Gomega, j *v1alpha1.PoseJob) {
		g.Expect(j.Status.Attempts[0].Reason).To(Equal(v1alpha1.ReasonSecretMissing))
	})
	p.play(pod, x().Phase(corev1.PodFailed)) // the kubelet ends what never began
	j := p.eventually("run", phase(v1alpha1.PhaseFailed))
	p.g.Expect(condition(j, v1alpha1.ConditionFailed)).To(Equal("True/" + v1alpha1.ReasonSecretMissing))
	p.g.Expect(j.Status.Attempts).To(HaveLen(1))
}

// Words of a kubelet are shown whatever they say, and fit to be shown.
func TestWhatKeepsAPodFromStarting(t *testing.T) {
	p := newPlace(t).withEngine()
	clock := &shifted{}
	p.options.Clock = clock
	p.start()
	p.submit("run")
	pod := p.pod(1)
	p.play(pod, hangs("copy"))
	other := pod.DeepCopy()
	other.UID = "another"
	p.kubeletSays(other, "FailedMount", `secret "foreign" not found`)
	p.kubeletSays(pod, "FailedAttachVolume", "the volume is \x1b[31mbusy"+strings.Repeat(" on another node", 60))
	clock.move(11 * time.Second)
	p.touch(pod)
	j := p.eventually("run", func(g Gomega, j *v1alpha1.PoseJob) {
		g.Expect(meta.FindStatusCondition(j.Status.Conditions, v1alpha1.ConditionReady).Message).To(ContainSubstring("The kubelet says: the volume is"))
	})
	message := meta.FindStatusCondition(j.Status.Conditions, v1alpha1.ConditionReady).Message
	p.g.Expect(message).NotTo(Or(ContainSubstring("\x1b"), ContainSubstring("foreign")))
}
