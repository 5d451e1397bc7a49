// Gcchurn is bench/gcchurn.c in Go.
package main

import (
	"math/bits"
	"sync"

	"bench/harness"
)

const (
	tableLists  = 1 << 14
	operations  = 400000
	listMin     = 4
	treeDepth   = 5
	mostThreads = 2
)

// A node is 48 bytes in Go, 32 in C: a slice carries its length and capacity.
type node struct {
	left, right *node
	buffer      []byte
	nodes       int
}

type worker struct {
	table      []*node
	random     uint64
	operations int
	_          [128]byte // no two workers on one cache line
}

var workers [mostThreads]worker

func (w *worker) randomSize(low, high uint32) uint32 {
	doublings := uint32(31 - bits.LeadingZeros32(high/low))
	floor := low << harness.RandomBelow(&w.random, doublings)
	return floor + harness.RandomBelow(&w.random, floor)
}

func (w *worker) listMake() *node {
	count := listMin + int(harness.RandomBelow(&w.random, 16))
	var head *node
	for i := 1; i <= count; i++ {
		buffer := make([]byte, w.randomSize(16, 256))
		for at := range buffer {
			buffer[at] = byte(i)
		}
		head = &node{nodes: i, buffer: buffer, right: head}
	}
	return head
}

func listCheck(n *node) {
	for left := n.nodes; left > 0; left-- {
		if n == nil || n.nodes != left {
			harness.Die("gcchurn: a list has lost nodes")
		}
		if n.buffer[0] != byte(left) || n.buffer[len(n.buffer)-1] != byte(left) {
			harness.Die("gcchurn: a buffer has changed")
		}
		n = n.right
	}
}

func treeMake(depth int) *node {
	n := &node{}
	if depth > 1 {
		n.left = treeMake(depth - 1)
		n.right = treeMake(depth - 1)
	}
	return n
}

func (n *node) count() int {
	if n == nil {
		return 0
	}
	return 1 + n.left.count() + n.right.count()
}

func (w *worker) operation(number int) {
	if number%4 == 3 {
		if treeMake(treeDepth).count() != 1<<treeDepth-1 {
			harness.Die("gcchurn: a tree has lost nodes")
		}
		return
	}
	list := w.listMake()
	if number%4 == 0 {
		slot := &w.table[harness.RandomBelow(&w.random, tableLists)]
		list, *slot = *slot, list
	}
	listCheck(list)
}

func (w *worker) run() {
	w.table = make([]*node, tableLists)
	for i := range w.table {
		w.table[i] = w.listMake()
	}
	for i := 0; i < w.operations; i++ {
		w.operation(i)
	}
	for _, list := range w.table {
		listCheck(list)
	}
	w.table = nil
}

func churnRun(threads int, name string) {
	if !harness.Wants(name) {
		return
	}
	timing := harness.Begin()
	var group sync.WaitGroup
	for t := 0; t < threads; t++ {
		w := &workers[t]
		w.random = 88172645463325252 + uint64(t)*0x9e3779b97f4a7c15
		w.operations = harness.Scaled(operations)
		group.Add(1)
		go func() {
			w.run()
			group.Done()
		}()
	}
	group.Wait()
	timing.End(name)
}

func main() {
	harness.Start()
	churnRun(1, "churn_1thr")
	churnRun(2, "churn_2thr")
	harness.Finish()
}
