# PURPOSE: a small project for make itself: pattern rules, functions, recursion, a failing target.
objects := $(patsubst %.c,%.o,$(wildcard f*.c))
numbers := $(foreach a,0 1 2 3 4 5 6 7 8 9,$(foreach b,0 1 2 3 4 5 6 7 8 9,$(a)$(b)))
long    := $(foreach n,$(numbers),$(foreach m,$(numbers),n$(n)m$(m)))

all: main.o $(objects)
	gcc -o $@ $^

main.c: $(objects:.o=.c)
	( echo '#include <stdio.h>'; \
	  for f in $(sort $(basename $^)); do echo "int $$f(void);"; done; \
	  echo 'int main(void) { printf("%d.", 0'; \
	  for f in $(sort $(basename $^)); do echo "+ $$f()"; done; echo '); return 0; }' ) >$@
	@echo $(words $(long)) $(words $(sort $(long) $(long))) $(lastword $(long))
	@$(MAKE) -s inner

%.o: %.c
	gcc -O1 -c -o $@ $<

inner:
	@echo inner $(filter n7%m42,$(long))

broken:
	@false

after:
	@echo reached
