# PURPOSE: fetch.pl PORT PATH -- the body of one HTTP answer from the loopback, or exit status 1.
use strict;
use warnings;
use IO::Socket::INET;

my ($port, $path) = @ARGV;
my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port", Timeout => 10) or exit 1;
print $s "GET $path HTTP/1.0\r\nHost: localhost\r\n\r\n";
local $/;
my $answer = <$s> // '';
$answer =~ s/\A(HTTP.*?)\r\n.*?\r\n\r\n//s or exit 1;
print $answer;
