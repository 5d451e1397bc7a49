# PURPOSE: openssl speed with two processes; its numbers are times, so only its status counts.
NEEDS="openssl"
STDERR=ignore
STRESS=64

normalise() { sed -n '/^status/p; s/^\(sha256\|aes-128-cbc\|version:\).*/\1/p'; }

run() {
    status openssl speed -seconds 1 -bytes 4096 -multi 2 -evp sha256
    status openssl speed -seconds 1 -bytes 1024 -evp aes-128-cbc
}
