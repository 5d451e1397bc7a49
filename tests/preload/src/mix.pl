# PURPOSE: a perl program that keeps much of its data alive only through the interpreter's own
# structures: closures, hashes of arrays, captured groups, deferred sort keys. Output is fixed.
use strict;
use warnings;

$| = 1;

my %words;
for my $i (1 .. 40000) {
    my $w = join '', map { chr(97 + ($i * 7 + $_ * $_) % 26) } 1 .. 3 + $i % 9;
    push @{ $words{$w} }, $i;
}
my @most = sort { @{ $words{$b} } <=> @{ $words{$a} } || $a cmp $b } keys %words;
print scalar(@most), " words, $most[0] ", scalar(@{ $words{ $most[0] } }), "\n";

my @counters = map { my $n = $_; sub { $n += shift; return $n } } 1 .. 2000;
$_->(5) for @counters;
my $sum = 0;
$sum += $_->(1) for @counters;
print "closures $sum\n";

my $text = join ' ', map { "key$_=" . ($_ * $_) . ';' } 1 .. 20000;
my %pairs = $text =~ /(\w+)=(\d+);/g;
print scalar(keys %pairs), " pairs, key777 $pairs{key777}\n";
(my $swapped = $text) =~ s/(\w+)=(\d+)/$2:$1/g;
print length($swapped), ' ', substr($swapped, 1000, 30), "\n";
my $nested = qr/\((?:[^()]++|(?R))*\)/;
print "nested ", length((('(' x 500) . 'x' . (')' x 500)) =~ /($nested)/ ? $1 : ''), "\n";

my $tree;
sub insert {
    my ($at, $k) = @_;
    return { k => $k } unless $at;
    my $side = $k < $at->{k} ? 'l' : 'r';
    $at->{$side} = insert($at->{$side}, $k);
    return $at;
}
$tree = insert($tree, ($_ * 7919) % 10007) for 1 .. 6000;
sub walk { my ($t) = @_; return $t ? (walk($t->{l}), $t->{k}, walk($t->{r})) : () }
my @flat = walk($tree);
print scalar(@flat), " nodes, ", (join ',', @flat[0 .. 5]), "\n";

my $packed = pack '(N n C A5)*', map { ($_, $_ % 65536, $_ % 256, "s$_") } 1 .. 3000;
my @back = unpack '(N n C A5)*', $packed;
print length($packed), " bytes, $back[-1]\n";

for my $round (1 .. 300) {
    my @ring = ({}, {}, {});
    $ring[$_]{next} = $ring[($_ + 1) % 3] for 0 .. 2;
    $ring[0]{data} = 'y' x 2000;
    my $r = eval { die { round => $round, ring => \@ring } if $round % 3 == 0; 1 };
    print "died at $@->{round}\n" if !$r && $round % 90 == 0;
}

my @kids;
for my $n (1 .. 12) {
    pipe(my $in, my $out) or die;
    my $pid = fork // die;
    if (!$pid) {
        close $in;
        my %h = map { ("$n-$_" => 'z' x ($_ % 40)) } 1 .. 3000;
        print $out scalar(keys %h), ' ', scalar(@{ $words{ $most[$n] } }), "\n";
        close $out;
        exit $n;
    }
    close $out;
    push @kids, [$pid, $in];
}
for (@kids) {
    my ($pid, $in) = @$_;
    my $line = <$in>;
    waitpid $pid, 0;
    chomp $line;
    print "child $line status ", $? >> 8, "\n";
}
my @lines = `seq 1 5000`;
print scalar(@lines), " lines from a child, last $lines[-1]";
