# PURPOSE: ruby: its files keep their buffers by pointers at odd multiples of 4 (packed structures).
NEEDS="ruby"
STRESS=128
MODES="preload stress manual"

run() { ruby "$SRC/files.rb"; }
