// Pauses is bench/pauses.c in Go: the same heap, the same operations, the same output.
package main

import (
	"fmt"
	"math/bits"
	"os"
	"strconv"
	"sync"

	"bench/harness"
)

const (
	treeDepth   = 4
	treeNodes   = 1<<treeDepth - 1
	nodeBytes   = 64
	bufferBytes = 4000
	mostWriters = 64
	subBuckets  = 16
	buckets     = 44 * subBuckets
	warmUpNs    = 500 * 1000 * 1000
)

type node struct {
	child   [2]*node
	payload [6]uint64
}

type writer struct {
	treeFirst, treeCount  uint64
	random                uint64
	deadlineNs            int64
	operations, longestNs int64
	number                int
	histogram             [buckets]uint64
}

var (
	forest     []*node
	lastBuffer [mostWriters][]byte
	writers    [mostWriters]writer
)

func bucketOf(ns int64) int {
	if ns < 2*subBuckets {
		return int(ns)
	}
	shift := 59 - bits.LeadingZeros64(uint64(ns))
	bucket := shift*subBuckets + int(ns>>shift)
	if bucket >= buckets {
		return buckets - 1
	}
	return bucket
}

func bucketLowNs(bucket int) int64 {
	if bucket < 2*subBuckets {
		return int64(bucket)
	}
	return int64(bucket%subBuckets+subBuckets) << (bucket/subBuckets - 1)
}

func treeMake(depth int) *node {
	if depth == 0 {
		return nil
	}
	left := treeMake(depth - 1)
	return &node{child: [2]*node{left, treeMake(depth - 1)}}
}

func (n *node) count() int {
	if n == nil {
		return 0
	}
	return 1 + n.child[0].count() + n.child[1].count()
}

func (w *writer) pick(depth uint32) *node {
	random := harness.Random(&w.random)
	n := forest[w.treeFirst+((random>>32)*w.treeCount)>>32]
	for ; depth > 0; depth-- {
		n = n.child[random&1]
		random >>= 1
	}
	return n
}

func (w *writer) operation(number int64) {
	depth := harness.RandomBelow(&w.random, treeDepth-1)
	switch number & 15 {
	case 3:
		buffer := make([]byte, bufferBytes)
		buffer[0] = 1
		lastBuffer[w.number] = buffer
	case 7, 15:
		parent, side := w.pick(depth), number>>4&1
		old := parent.child[side]
		parent.child[side] = &node{child: old.child}
	case 1, 9:
		a, b := w.pick(depth), w.pick(depth)
		fromA, fromB := a.child[0], b.child[1]
		a.child[0] = fromB
		b.child[1] = fromA
	default:
		n := w.pick(depth)
		left, right := n.child[0], n.child[1]
		n.child[0] = right
		n.child[1] = left
	}
}

func (w *writer) run() {
	last := harness.NowNs()
	for last < w.deadlineNs {
		w.operation(w.operations)
		w.operations++
		now := harness.NowNs()
		took := now - last
		w.histogram[bucketOf(took)]++
		if took > w.longestNs {
			w.longestNs = took
		}
		last = now
	}
}

func writersRun(count int, durationNs int64) {
	var group sync.WaitGroup
	trees := uint64(len(forest))
	for i := 0; i < count; i++ {
		w := &writers[i]
		*w = writer{number: i}
		w.treeFirst = trees * uint64(i) / uint64(count)
		w.treeCount = trees*uint64(i+1)/uint64(count) - w.treeFirst
		w.random = 88172645463325252 + uint64(i)*0x9e3779b97f4a7c15
		w.deadlineNs = harness.NowNs() + durationNs
		group.Add(1)
		go func() {
			w.run()
			group.Done()
		}()
	}
	group.Wait()
}

func report(count int, seconds float64) {
	var operations, longest int64
	for i := range writers[:count] {
		operations += writers[i].operations
		if writers[i].longestNs > longest {
			longest = writers[i].longestNs
		}
	}
	for bucket := 0; bucket < buckets; bucket++ {
		var sum uint64
		for i := range writers[:count] {
			sum += writers[i].histogram[bucket]
		}
		if sum != 0 {
			fmt.Printf("hist %d %d\n", bucketLowNs(bucket), sum)
		}
	}
	harness.Report("op_longest", "ns", float64(longest))
	harness.Report("op_rate", "Mops/s", float64(operations)/seconds/1e6)
}

func main() {
	if len(os.Args) != 4 {
		harness.Die("usage: pauses LIVE_MIB SECONDS WRITERS")
	}
	live, _ := strconv.Atoi(os.Args[1])
	seconds, _ := strconv.ParseFloat(os.Args[2], 64)
	count, _ := strconv.Atoi(os.Args[3])
	if live <= 0 || seconds <= 0 || count <= 0 || count > mostWriters {
		harness.Die("pauses: an argument is out of range")
	}
	forest = make([]*node, (live<<20)/(treeNodes*nodeBytes))
	for i := range forest {
		forest[i] = treeMake(treeDepth)
	}
	writersRun(count, warmUpNs)
	before := harness.Cycles()
	os.Stderr.WriteString("# measure begin\n")
	writersRun(count, int64(seconds*1e9))
	os.Stderr.WriteString("# measure end\n")
	report(count, seconds)
	harness.Report("cycles", "cycles", float64(harness.Cycles()-before))
	for _, tree := range forest {
		if tree.count() != treeNodes {
			harness.Die("pauses: a tree has lost nodes")
		}
	}
	harness.Finish()
}
