# PURPOSE: openssl: keys, certificates, signatures, encryption there and back, error stacks.
NEEDS="openssl"
MODES="preload stress manual"
STDERR=ignore # progress dots of the key generation

prepare() { seq 200000 >"$IN/data"; }

run() {
    openssl genrsa -out rsa.pem 2048 && openssl rsa -in rsa.pem -check -noout
    openssl ecparam -name prime256v1 -genkey -noout -out ec.pem
    openssl req -x509 -new -key ec.pem -subj /CN=example.org -days 3650 -out cert.pem
    openssl verify -CAfile cert.pem cert.pem
    openssl enc -aes-256-cbc -pbkdf2 -iter 5000 -pass pass:x -S 0011223344556677 \
        -in "$IN/data" -out data.enc
    sha256sum <data.enc
    openssl enc -d -aes-256-cbc -pbkdf2 -iter 5000 -pass pass:x -S 0011223344556677 -in data.enc |
        cmp - "$IN/data" && echo "encryption: same"
    openssl dgst -sha512 -sign rsa.pem -out sig "$IN/data"
    openssl rsa -in rsa.pem -pubout -out pub.pem 2>&1
    openssl dgst -sha512 -verify pub.pem -signature sig "$IN/data"
    openssl cms -encrypt -binary -aes-128-cbc -in "$IN/data" -outform DER -out cms.der cert.pem
    openssl cms -decrypt -binary -inform DER -in cms.der -recip cert.pem -inkey ec.pem |
        cmp - "$IN/data" && echo "cms: same"
    openssl prime -generate -bits 256 >prime && openssl prime "$(cat prime)" | sed 's/.*) //'
    openssl ciphers -v ALL | sha256sum
    openssl x509 -in rsa.pem -noout
    echo "an error: status $?"
}
