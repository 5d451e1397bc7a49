# PURPOSE: hashes, arrays and strings in perl, some 100 MiB alive; reference counts free them.
# USE: mix.pl ROUNDS
use strict;
use warnings;

my ($rounds) = @ARGV;
my %people;
for my $i (1 .. 120000) {
    $people{"person $i"} = {
        name => "name $i", tags => [$i % 7, $i % 11, "tag $i"], size => $i * 31 % 977 };
}
my $total = 0;
for my $round (1 .. $rounds) {
    my @sorted = sort { $a->{size} <=> $b->{size} } values %people;
    my %count;
    for my $person (@sorted) {
        $count{$_}++ for split / /, "$person->{name} $person->{tags}[2]";
    }
    $total += keys %count;
    for (my $i = 1 + $round % 4; $i <= 120000; $i += 4) {
        delete $people{"person $i"};
        $people{"person $i"} = {
            name => "name $i", tags => [$i % 5, $round, "tag $i"], size => $i * $round % 977 };
    }
    my $text = join ',', map { $_->{name} } @sorted[0 .. 50000];
    $total += () = $text =~ /7/g;
}
print "$total\n";
