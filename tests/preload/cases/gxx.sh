# PURPOSE: g++ of template-heavy C++, with optimisation and debug information, its link, and the
#   program that comes out.
NEEDS="g++"
STRESS=512
LIMIT=120
WEIGHT=7

run() {
    cp "$SRC/templates.cc" .
    g++ -std=c++17 -O1 -g0 -c templates.cc -o t.o && sha256sum t.o
    g++ t.o -o t && plainly ./t
    strip -o t.stripped t && nm -C t.o | wc -l
    echo 'template <class T> struct A { typename T::x y; }; A<int> a;' >bad.cc
    g++ -c bad.cc 2>&1
    echo "an error: status $?"
}
