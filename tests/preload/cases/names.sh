# PURPOSE: a runtime that has functions called gc_free, gc_realloc and gc_collect, as D's has, keeps its own.
NEEDS="gcc"

prepare() {
    compile "$IN/libruntime.so" names_runtime.c -shared -fPIC
    compile "$IN/names" names.c -L"$IN" -lruntime -Wl,-rpath,"$IN"
}

run() { "$IN/names"; }
