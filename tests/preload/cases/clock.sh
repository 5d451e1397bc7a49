# PURPOSE: a second preloaded library stands in front of clock_gettime and allocates in it.
NEEDS="gcc perl"
STRESS=64

prepare() { compile "$IN/clock.so" clock.c -shared -fPIC; }

run() {
    LD_PRELOAD="${LD_PRELOAD:+$LD_PRELOAD:}$IN/clock.so" \
        perl -e 'my %h = map { $_ => "x" x ($_ % 300) } 1 .. 20000; my $n = 0; $n += length for values %h; print "$n\n"'
}
