package httpapi

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics of the gateway.
type Metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	received prometheus.Counter
}

// NewMetrics registers them; streams tells how many event streams are open.
func NewMetrics(streams func() int) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pose_gateway_requests_total", Help: "Requests answered, by route and status."}, []string{"route", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "pose_gateway_request_duration_seconds", Help: "Time to answer, uploads, downloads and streams included.", Buckets: []float64{.01, .05, .1, .5, 1, 5, 30, 120, 600},
		}, []string{"route"}),
		received: prometheus.NewCounter(prometheus.CounterOpts{Name: "pose_gateway_received_bytes_total", Help: "Bytes of uploads received."}),
	}
	m.registry.MustRegister(m.requests, m.seconds, m.received, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "pose_gateway_event_streams", Help: "Open event streams."}, func() float64 { return float64(streams()) }))
	return m
}

func (m *Metrics) request(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}

// Received counts bytes of uploads.
func (m *Metrics) Received(n int) { m.received.Add(float64(n)) }

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
