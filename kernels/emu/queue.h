/* queue.h - streams, events and graphs of the emulator: queues of operations that run when somebody waits.
 *
 * Which stream goes first is the schedule's choice, within what events order: forward runs only what the waiting one
 * needs, reverse runs all others first, random draws. So work that nobody ordered happens too late or too early in one
 * of them. All calls hold the one lock of rt.c. */
#ifndef TD_KERNELS_EMU_QUEUE_H
#define TD_KERNELS_EMU_QUEUE_H

#include "kernels/emu/int.h"

typedef enum emu_op_kind {
    EMU_OP_KERNEL, EMU_OP_COPY, EMU_OP_SET, EMU_OP_RECORD, EMU_OP_WAIT, EMU_OP_GRAPH
} emu_op_kind;

typedef struct emu_op {
    struct emu_op *next;
    emu_op_kind kind;
    emu_launch_op kernel; // args owned
    void *to;             // copy, set
    const void *from;
    size_t bytes;
    int value;
    bool from_host;
    uint64_t sum;         // of the source when it was queued
    gpu_event event;      // record, wait
    uint64_t ticket;      // which record
    gpu_graph graph;
    uint64_t *sums;       // graph: of its host sources when it was queued
    uint32_t host_before[EMU_STREAMS_MAX]; // what the host had waited for
} emu_op;

typedef struct emu_node { // of a graph
    emu_op *op;
    uint32_t stream;      // index of the stream that recorded it
    int32_t *deps;        // [dep_count] earlier nodes
    uint32_t dep_count;
    bool done;
    emu_when when;        // of the running launch
} emu_node;

struct gpu_graph_st {
    emu_node *nodes;
    uint32_t count, cap;
    int32_t last[EMU_STREAMS_MAX];         // newest node of each recording stream, -1
    int32_t joins[EMU_STREAMS_MAX][8];     // nodes that its next one waits for
    uint32_t join_count[EMU_STREAMS_MAX];
    gpu_stream origin;
};

struct gpu_stream_st {
    uint32_t index;
    emu_op *head, *tail;
    uint32_t before[EMU_STREAMS_MAX];
    gpu_graph capture; // recording into it
};

struct gpu_event_st {
    uint64_t recorded, done; // tickets
    uint32_t before[EMU_STREAMS_MAX];
    double ms;               // when it was reached
    gpu_graph capture;       // recorded while capturing, as this node
    int32_t capture_node;
};

extern gpu_stream emu_streams[EMU_STREAMS_MAX];
extern uint32_t emu_host_before[EMU_STREAMS_MAX]; // operations that the host knows are over

uint32_t emu_queue_next(uint32_t stream);         // number of a stream's next operation
void emu_queue_run(emu_op *op, emu_op *after, emu_when *w, uint32_t stream); // after: the next in stream order, or NULL
void emu_queue_until_idle(gpu_stream s);
void emu_queue_until(gpu_event e, uint64_t ticket);
bool emu_queue_poll(gpu_event e);                 // moves on a little
void emu_queue_push(gpu_stream s, emu_op *op);    // takes op; while capturing, into the graph
void emu_op_free(emu_op *op);
uint64_t emu_sum(const void *p, size_t bytes);
void emu_max_before(uint32_t *to, const uint32_t *from);

// graph.c
void emu_graph_add(gpu_graph g, gpu_stream s, emu_op *op);
void emu_graph_run(gpu_graph g, gpu_stream s, const uint64_t *sums);
uint64_t *emu_graph_sums(gpu_graph g);

#endif
