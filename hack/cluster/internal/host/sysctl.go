package host

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
)

// kubeletSysctls are the settings of the whole machine that a kubelet changes
// when it starts.
var kubeletSysctls = []string{
	"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
	"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
}

// SaveSysctls notes the settings, unless they have been noted before.
func SaveSysctls(file string) error {
	if exists(file) {
		return nil
	}
	values := map[string]string{}
	for _, name := range kubeletSysctls {
		if data, err := os.ReadFile("/proc/sys/" + name); err == nil {
			values[name] = strings.TrimSpace(string(data))
		}
	}
	data, err := json.Marshal(values)
	if err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}

// RestoreSysctls puts the noted settings back.
func RestoreSysctls(file string) error {
	data, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	values := map[string]string{}
	if err := json.Unmarshal(data, &values); err != nil {
		return err
	}
	var failed []error
	for name, value := range values {
		failed = append(failed, os.WriteFile("/proc/sys/"+name, []byte(value), 0o644))
	}
	return errors.Join(failed...)
}

// Memory is the machine's memory in bytes.
func Memory() (int64, error) {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(data) {
		if f := strings.Fields(string(line)); len(f) > 1 && f[0] == "MemTotal:" {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("/proc/meminfo names no MemTotal")
}
