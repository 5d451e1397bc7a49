# A database in memory: pages are written, left alone while others are, and read again.
use strict;
use warnings;
use DB_File;
use Fcntl;

my $info = DB_File::BTREEINFO->new;
$info->{cachesize} = 4 << 20;
my $db = tie my %value, 'DB_File', undef, O_RDWR | O_CREAT, 0644, $info or die "no database: $!";

for my $round (1 .. 3) {
    for my $i (1 .. 5_000) {
        my $key = sprintf 'key%d', $i * 7919 % 8009;
        $value{$key} = "$round-$i " x 20;
        my @garbage = map { "$_$i" } 1 .. 5;
    }
}
my ($bytes, $keys) = (0, 0);
while (my ($key, $text) = each %value) {
    $bytes += length $text;
    $keys++;
}
print "$keys keys, $bytes bytes, $value{key42}\n";
undef $db;
untie %value;
