# PURPOSE: a plugin whose constructor waits for a thread that makes the first wrapped call.
NEEDS="gcc"
STRESS=32

prepare() {
    compile "$IN/plugin.so" loader_plugin.c -shared -fPIC -pthread
    compile "$IN/loader" loader.c -pthread -ldl
}

run() { "$IN/loader" "$IN/plugin.so"; }
