// Package harness is bench/harness.c for the Go versions of the collector programs: the same
// options, the same output lines, the same random numbers.
package harness

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var (
	only  string
	scale = 1.0
	base  = time.Now()
)

// Die ends the process: a benchmark that went wrong must not leave a number behind.
func Die(what string) {
	fmt.Fprintln(os.Stderr, "bench: "+what)
	os.Exit(1)
}

// Start reads the options --only=CASE and --scale=F.
func Start() {
	for _, argument := range os.Args[1:] {
		switch {
		case strings.HasPrefix(argument, "--only="):
			only = argument[len("--only="):]
		case strings.HasPrefix(argument, "--scale="):
			value, err := strconv.ParseFloat(argument[len("--scale="):], 64)
			if err != nil {
				Die("malformed --scale")
			}
			scale = value
		default:
			Die("unknown option")
		}
	}
}

// Wants says whether the case is to run.
func Wants(name string) bool {
	return only == "" || only == name
}

// Scaled is count times --scale, at least 1.
func Scaled(count int) int {
	scaled := int(float64(count) * scale)
	if scaled == 0 {
		return 1
	}
	return scaled
}

// Report prints one result.
func Report(name, unit string, value float64) {
	fmt.Printf("%s %s %.6g\n", name, unit, value)
}

// NowNs is the monotonic clock; one read of it, unlike time.Now.
func NowNs() int64 {
	return int64(time.Since(base))
}

// CPUNs is the processor time of all threads.
func CPUNs() int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		Die("getrusage failed")
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

// Cycles is the number of collections completed so far.
func Cycles() int {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int(stats.NumGC)
}

// Timing is what a case has used, from Begin to End.
type Timing struct {
	wall, cpu int64
	cycles    int
}

// Begin starts the clocks of a case.
func Begin() Timing {
	cycles := Cycles()
	return Timing{NowNs(), CPUNs(), cycles}
}

// End reports NAME and NAME_cpu in ms and NAME_cycles, as the C programs do.
func (t Timing) End(name string) {
	wall, cpu := NowNs()-t.wall, CPUNs()-t.cpu
	Report(name, "ms", float64(wall)/1e6)
	Report(name+"_cpu", "ms", float64(cpu)/1e6)
	Report(name+"_cycles", "cycles", float64(Cycles()-t.cycles))
}

// Finish reports the peak RSS.
func Finish() {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		Die("cannot read /proc/self/status")
	}
	for _, line := range strings.Split(string(status), "\n") {
		fields := strings.Fields(line)
		if len(fields) > 1 && fields[0] == "VmHWM:" {
			kib, _ := strconv.ParseFloat(fields[1], 64)
			Report("peak_rss", "MiB", kib/1024)
			return
		}
	}
	Die("/proc/self/status has no VmHWM")
}

// Random is xorshift64*, as in harness.h.
func Random(state *uint64) uint64 {
	x := *state
	x ^= x >> 12
	x ^= x << 25
	x ^= x >> 27
	*state = x
	return x * 2685821657736338717
}

// RandomBelow is a number below bound, without a division.
func RandomBelow(state *uint64, bound uint32) uint32 {
	return uint32(((Random(state) >> 32) * uint64(bound)) >> 32)
}
