/* The smallest program: says hello. */
#include "guest.h"

int main(void)
{
	SAY("hello");
	return 0;
}
