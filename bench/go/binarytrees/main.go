// Binarytrees is bench/binarytrees.c in Go.
package main

import (
	"sync"

	"bench/harness"
)

const (
	depthMin = 4
	depthMax = 16
)

type node struct {
	left, right *node
}

var (
	longLived *node
	// dropped keeps the compiler from leaving a tree out.
	dropped *node
)

func treeMake(depth int) *node {
	n := &node{}
	if depth > 0 {
		n.left = treeMake(depth - 1)
		n.right = treeMake(depth - 1)
	}
	return n
}

func (n *node) count() int {
	if n.left == nil {
		return 1
	}
	return 1 + n.left.count() + n.right.count()
}

func shareRun(depth, trees int) (nodes int) {
	for i := 0; i < trees; i++ {
		nodes += treeMake(depth).count()
	}
	return nodes
}

func depthRun(depth, trees, threads int) {
	var group sync.WaitGroup
	nodes := make([]int, threads)
	for t := 0; t < threads; t++ {
		share := trees / threads
		if t < trees%threads {
			share++
		}
		group.Add(1)
		go func(t int) {
			nodes[t] = shareRun(depth, share)
			group.Done()
		}(t)
	}
	group.Wait()
	sum := 0
	for _, count := range nodes {
		sum += count
	}
	if sum != trees*(2<<depth-1) {
		harness.Die("binarytrees: a tree has lost nodes")
	}
}

func treesRun(threads int, name string) {
	if !harness.Wants(name) {
		return
	}
	timing := harness.Begin()
	dropped = treeMake(depthMax + 1)
	dropped = nil
	longLived = treeMake(depthMax)
	for depth := depthMin; depth <= depthMax; depth += 2 {
		depthRun(depth, harness.Scaled(1<<(depthMax-depth+depthMin)), threads)
	}
	if longLived.count() != 2<<depthMax-1 {
		harness.Die("binarytrees: the long-lived tree has lost nodes")
	}
	longLived = nil
	timing.End(name)
}

func main() {
	harness.Start()
	treesRun(1, "trees_1thr")
	treesRun(2, "trees_2thr")
	harness.Finish()
}
