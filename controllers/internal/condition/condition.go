// Package condition writes conditions into a status. It is pure: time is a value.
package condition

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pose-dev/pose-operator/controllers/internal/failure"
)

// Setter writes conditions with one generation and one clock.
type Setter struct {
	Conditions *[]metav1.Condition
	Generation int64 // of the object that they speak of
	Now        metav1.Time
	MaxMessage int // bytes of a message; what is longer is cut
}

// Set a condition. Its time changes only when its status does.
func (s Setter) Set(kind string, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(s.Conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: failure.Clean(message, s.MaxMessage),
		ObservedGeneration: s.Generation, LastTransitionTime: s.Now,
	})
}

// Remove conditions that do not hold and say nothing by their absence but that.
func (s Setter) Remove(kinds ...string) {
	for _, k := range kinds {
		meta.RemoveStatusCondition(s.Conditions, k)
	}
}
