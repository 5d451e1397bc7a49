# PURPOSE: perl's interpreter threads: every thread clones the whole interpreter.
NEEDS="perl"
STRESS=64
STDERR=compare

prepare() {
    perl -MConfig -e 'exit !$Config{usethreads}' || skip "this perl has no threads"
}

run() {
    perl -Mthreads -Mthreads::shared -MThread::Queue -e '
        my $total :shared = 0; my $q = Thread::Queue->new(1 .. 400); $q->end;
        my @t = map { my $n = $_; threads->create(sub {
            my %mine; my $sum = 0;
            while (defined(my $i = $q->dequeue)) {
                $mine{"$n-$i-$_"} = [$_, "x" x ($_ % 50)] for 1 .. 100;
                my $k = 0; $k += $mine{"$n-$i-$_"}[0] for 1 .. 100;
                $sum += $i * ($k == 5050);
            }
            { lock $total; $total += $sum; } return scalar keys %mine; }) } 1 .. 4;
        my $keys = 0; $keys += $_->join for @t; print "$total $keys\n";
        for (1 .. 15) { my $x = threads->create(sub { [map { {n => $_} } 1 .. 300] })->join;
            print scalar(@$x), $x->[299]{n}, "\n" }'
}
