/* comm_self.h - the collectives of a single rank: nothing to exchange. */
#ifndef TD_PARALLEL_COMM_SELF_H
#define TD_PARALLEL_COMM_SELF_H

#include "kernels/comm.h"

extern comm comm_self; // stateless: shared by everyone who runs alone

#endif
