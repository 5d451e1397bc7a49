# PURPOSE: php, with malloc for its own memory: keeps argument tables by pointers one past their end.
NEEDS="php"
STRESS=512
MODES="preload stress manual"

run() { USE_ZEND_ALLOC=0 php "$SRC/arrays.php"; }
