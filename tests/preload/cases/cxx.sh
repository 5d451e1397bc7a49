# PURPOSE: a C++ program: containers, exceptions, threads, destructors at every kind of end, and all
#   forms of operator new and delete.
NEEDS="g++"
MODES="preload stress manual"
WEIGHT=3

prepare() { compile "$IN/containers" containers.cc -std=c++17 -pthread; }

run() { "$IN/containers"; }
