// Gcbench is bench/gcbench.c in Go.
package main

import "bench/harness"

const (
	stretchDepth   = 18
	longLivedDepth = 16
	arrayLength    = 500000
	depthMin       = 4
	depthMax       = 16
)

type node struct {
	left, right *node
	i, j        int32
}

var (
	longLived *node
	array     []float64
	// dropped keeps the compiler from leaving a tree out.
	dropped *node
)

func treeSize(depth int) int {
	return 2<<depth - 1
}

func (n *node) populate(depth int) {
	if depth == 0 {
		return
	}
	n.left = &node{}
	n.right = &node{}
	n.left.populate(depth - 1)
	n.right.populate(depth - 1)
}

func treeMake(depth int) *node {
	if depth == 0 {
		return &node{}
	}
	left := treeMake(depth - 1)
	return &node{left: left, right: treeMake(depth - 1)}
}

func (n *node) count() int {
	if n == nil {
		return 0
	}
	return 1 + n.left.count() + n.right.count()
}

func depthRun(depth int) {
	trees := harness.Scaled(2 * treeSize(stretchDepth) / treeSize(depth))
	for i := 0; i < trees; i++ {
		tree := &node{}
		tree.populate(depth)
		dropped = tree
		dropped = nil
	}
	for i := 0; i < trees; i++ {
		dropped = treeMake(depth)
		dropped = nil
	}
}

func longLivedMake() {
	longLived = &node{}
	longLived.populate(longLivedDepth)
	array = make([]float64, arrayLength)
	for i := range array {
		array[i] = 1.0 / float64(i+1)
	}
}

func longLivedCheck() {
	if longLived.count() != treeSize(longLivedDepth) {
		harness.Die("gcbench: the long-lived tree has lost nodes")
	}
	for i := range array {
		if array[i] != 1.0/float64(i+1) {
			harness.Die("gcbench: the array has changed")
		}
	}
}

func main() {
	harness.Start()
	timing := harness.Begin()
	dropped = treeMake(stretchDepth)
	dropped = nil
	longLivedMake()
	for depth := depthMin; depth <= depthMax; depth += 2 {
		depthRun(depth)
	}
	longLivedCheck()
	timing.End("gcbench")
	harness.Finish()
}
