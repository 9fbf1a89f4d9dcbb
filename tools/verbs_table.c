/* The table of verbs and flags: the one place where a name, a range, a default or a help text stands. Flags that vLLM
 * has are named as there, so that its charts carry over; those that cannot apply are listed too, so that leaving them
 * out is a decision with a reason and not an accident. */
#include "tools/verbs.h"

#include "base/check.h"
#include "base/limits.h"

#include <math.h>

#define V(verb) (1ull << VERB_##verb)
#define BENCH_MODEL (V(BENCH_LATENCY) | V(BENCH_THROUGHPUT))
#define GENERATE (V(COMPLETE) | V(CHAT))
/* Verbs that load weights, and verbs that open a model at all. */
#define ENGINE (V(SERVE) | GENERATE | V(RUN_BATCH) | BENCH_MODEL | V(LOGITS) | V(PERPLEXITY) | V(INSPECT))
#define TEXT (V(TOKENIZE) | V(DETOKENIZE) | V(RENDER))
#define ALL ((1ull << VERB_COUNT) - 1)

/* In the order of --help: what a verb is about comes first. */
enum { G_INPUT, G_SAMPLING, G_BENCH, G_LOAD, G_HTTP, G_LIMITS, G_MODEL, G_MEMORY, G_DEVICE, G_PARALLEL, G_GENERAL,
       G_FOREIGN };

static const char *const groups[] = {"Input and output", "Sampling", "Benchmark", "Requests to a server", "HTTP",
                                     "Limits of the server", "Model", "Memory and batch", "Device",
                                     "Several ranks and machines", "General", "Known from vLLM", NULL};

static const flags_def defs[] = {
    /* ---- general ---- */
    {"help", FLAG_BOOL, NULL, ALL, .letter = 'h', .group = G_GENERAL, .traits = FLAG_ARGV,
     .help = "This text; --help WORD searches, --help=all shows everything."},
    {"config", FLAG_STR, NULL, ALL, "FILE", .group = G_GENERAL, .traits = FLAG_ARGV,
     .help = "YAML file with one `flag: value` a line."},
    {"print-config", FLAG_BOOL, NULL, ALL, .group = G_GENERAL, .traits = FLAG_ARGV,
     .help = "Print each value and where it came from, and end."},
    {"log-level", FLAG_ENUM, "auto", ALL, .choices = "auto|error|warn|info|debug", .group = G_GENERAL,
     .help = "How much to say on stderr; auto: info for serve, warn for verbs whose results are on a terminal."},
    {"log-format", FLAG_ENUM, "text", ALL, .choices = "text|json", .group = G_GENERAL, .help = "Form of log lines."},

    /* ---- model ---- */
    {"max-model-len", FLAG_INT, "auto", ENGINE, "N", .max = TD_MODEL_CTX_MAX, .group = G_MODEL,
     .help = "Tokens of prompt and answer together; auto: the model's own, less where the cache is smaller."},
    {"dtype", FLAG_ENUM, "auto", ENGINE, .choices = "auto", .group = G_MODEL, .why = "other forms are planned",
     .help = "Form of weights that are not quantised; auto: the checkpoint's own."},
    {"load-format", FLAG_ENUM, "auto", ENGINE, .choices = "auto|dummy", .group = G_MODEL,
     .help = "dummy: random weights of the model's shape, for benchmarks."},
    {"chat-template", FLAG_STR, NULL, ENGINE | V(RENDER), "FILE", .group = G_MODEL,
     .help = "Jinja file in place of the model's own chat template."},
    {"served-model-name", FLAG_LIST, NULL, V(SERVE) | V(RUN_BATCH), "NAME", .traits = FLAG_MANY, .group = G_MODEL,
     .help = "Names that requests may give as `model`; the first is reported. Default: MODEL and its base name."},

    /* ---- memory and batch ---- */
    {"max-num-seqs", FLAG_INT, "auto", ENGINE, "N", .max = TD_SEQS_MAX, .group = G_MEMORY,
     .help = "Requests in one step."},
    {"max-num-batched-tokens", FLAG_INT, "auto", ENGINE, "N", .max = TD_BATCH_TOK_MAX, .group = G_MEMORY,
     .help = "Tokens in one step; auto: measured at start by servers and benchmarks, on a GPU 8192, "
             "else 256."},
    {"max-num-queued-reqs", FLAG_INT, "auto", ENGINE, "N", .max = 1 << 20, .group = G_MEMORY,
     .help = "Waiting requests before new ones are turned away; auto: four times max-num-seqs."},
    {"block-size", FLAG_INT, "auto", ENGINE, "N", .max = TD_KV_BLOCK_TOK_MAX, .group = G_MEMORY,
     .help = "Tokens in a block of the KV cache, a multiple of 16; auto: 16, on a GPU 64."},
    {"kv-cache-dtype", FLAG_ENUM, "auto", ENGINE, .choices = "auto|float32|float16|bfloat16|q8_0", .arg = "TYPE",
     .group = G_MEMORY, .help = "Form of keys and values; auto: 32-bit for float32 weights, else bfloat16."},
    {"kv-cache-memory", FLAG_BYTES, "auto", ENGINE, "BYTES", .max = INFINITY, .group = G_MEMORY,
     .help = "Size of the KV cache; auto: from free memory."},
    {"max-rss", FLAG_BYTES, "auto", ENGINE, "BYTES", .max = INFINITY, .group = G_MEMORY,
     .help = "Memory to stay within: cache and steps shrink to fit, weights beyond it are refused; auto: what control "
             "group and rlimits allow."},
    {"gpu-memory-utilization", FLAG_NUM, "0.9", ENGINE, "X", .min = 0.01, .max = 1, .group = G_MEMORY,
     .help = "Share of a GPU's memory for weights, cache and steps together; no effect on a CPU."},
    {"low-memory", FLAG_BOOL, NULL, ENGINE, .group = G_MEMORY,
     .help = "Use weights as they lie in the mapped file, in the page cache only: same answers, slower."},
    {"enable-prefix-caching", FLAG_BOOL, "true", ENGINE, .group = G_MEMORY,
     .help = "Do not reuse the cache of equal prompt beginnings."},

    /* ---- device ---- */
    {"device", FLAG_ENUM, "auto", ENGINE | V(BENCH_ROOF) | V(BENCH_KERNELS), .choices = "auto|cpu|cuda|emu",
     .group = G_DEVICE, .help = "Where to compute; auto: a GPU where there is one. emu runs the CUDA kernels in an "
                                "emulator: for tests, very slow."},
    {"cpu-isa", FLAG_ENUM, "auto", ENGINE | V(BENCH_ROOF) | V(BENCH_KERNELS), .arg = "LEVEL",
     .choices = "auto|ref|avx2|avx512|avx512vnni", .group = G_DEVICE,
     .help = "A lower instruction set than the machine has; the answers are the same."},
    {"threads", FLAG_INT, "auto", ENGINE | V(BENCH_ROOF) | V(BENCH_KERNELS), "N", .max = TD_THREADS_MAX, .letter = 't',
     .group = G_DEVICE, .help = "Compute threads; auto: physical cores that affinity and cgroup leave."},

    /* ---- input and output ---- */
    {"prompt", FLAG_LIST, NULL, GENERATE, "TEXT", .letter = 'p', .group = G_INPUT,
     .help = "Prompt, or in `chat` one turn; repeatable; - reads stdin (complete)."},
    {"system", FLAG_STR, NULL, V(CHAT), "TEXT", .group = G_INPUT, .help = "System message before the conversation."},
    {"history", FLAG_STR, "auto", V(CHAT), "FILE", .group = G_INPUT,
     .help = "Where typed lines are kept; auto: tandem/chat_history in XDG_STATE_HOME; none: nowhere."},
    {"ids", FLAG_BOOL, NULL, V(COMPLETE), .group = G_INPUT,
     .help = "Print token ids, one line a choice, instead of text."},
    {"add-special", FLAG_BOOL, "true", V(COMPLETE) | V(TOKENIZE), .group = G_INPUT,
     .help = "Do not add BOS or EOS as the model's tokenizer would."},
    {"parse-special", FLAG_BOOL, NULL, V(COMPLETE) | V(TOKENIZE), .group = G_INPUT,
     .help = "Special tokens written out in the text become their ids."},
    {"skip-special", FLAG_BOOL, NULL, V(DETOKENIZE), .group = G_INPUT, .help = "Leave special tokens out of the text."},
    {"jsonl", FLAG_BOOL, NULL, V(TOKENIZE) | V(DETOKENIZE), .group = G_INPUT, .help = "JSON lines in and out."},
    {"input", FLAG_STR, NULL, V(RUN_BATCH), "FILE", .letter = 'i', .group = G_INPUT,
     .help = "Batch lines as OpenAI's batch API takes them; - reads stdin."},
    {"output", FLAG_STR, NULL, V(RUN_BATCH), "FILE", .letter = 'o', .group = G_INPUT,
     .help = "Results, one line each; - is stdout. While running it is FILE.part. A FILE that is there is not written "
             "over."},
    {"errors", FLAG_STR, NULL, V(RUN_BATCH), "FILE", .group = G_INPUT,
     .help = "Failed lines go here instead of the output."},
    {"resume", FLAG_BOOL, NULL, V(RUN_BATCH), .group = G_INPUT,
     .help = "Go on where an earlier run of the same input and model ended; lines that failed are tried again."},
    {"ordered", FLAG_BOOL, NULL, V(RUN_BATCH), .group = G_INPUT, .help = "Results in the order of the input."},
    {"fail-fast", FLAG_BOOL, NULL, V(RUN_BATCH), .group = G_INPUT, .help = "Stop at the first line that fails."},
    {"concurrency", FLAG_INT, "auto", V(RUN_BATCH), "N", .max = TD_SEQS_MAX, .group = G_INPUT,
     .help = "Lines in work at once; auto: max-num-seqs."},
    {"summary-json", FLAG_STR, NULL, V(RUN_BATCH), "FILE", .group = G_INPUT,
     .help = "Write the summary as JSON too; - is stdout."},
    {"top", FLAG_INT, "0", V(LOGITS), "N", .max = TD_MODEL_VOCAB_MAX, .group = G_INPUT,
     .help = "Only the N highest logits, as [id, value] pairs."},
    {"hash", FLAG_BOOL, NULL, V(LOGITS), .group = G_INPUT, .help = "Print one hash over the bits of all logits."},
    {"file", FLAG_STR, NULL, V(PERPLEXITY), "FILE", .letter = 'f', .group = G_INPUT, .help = "Text; - reads stdin."},
    {"ctx", FLAG_INT, "512", V(PERPLEXITY), "N", .letter = 'c', .min = 4, .max = TD_MODEL_CTX_MAX, .group = G_INPUT,
     .help = "Tokens of a chunk; the second half of each is scored."},
    {"chunks", FLAG_INT, "0", V(PERPLEXITY), "N", .max = 1 << 30, .group = G_INPUT,
     .help = "Score only so many chunks; 0: all."},
    {"json", FLAG_BOOL, NULL, V(INSPECT) | V(VERSION), .group = G_INPUT, .help = "JSON instead of text."},
    {"tensors", FLAG_BOOL, NULL, V(INSPECT), .group = G_INPUT, .help = "List every tensor."},
    {"man", FLAG_BOOL, NULL, V(HELP), .group = G_INPUT, .help = "The man page, for man -l."},
    {"markdown", FLAG_BOOL, NULL, V(HELP), .group = G_INPUT, .help = "docs/flags.md."},

    /* ---- sampling ---- */
    {"max-tokens", FLAG_INT, "0", GENERATE, "N", .max = TD_MODEL_CTX_MAX, .letter = 'n', .group = G_SAMPLING,
     .help = "Tokens of an answer; 0: up to max-model-len."},
    {"min-tokens", FLAG_INT, "0", GENERATE, "N", .max = TD_MODEL_CTX_MAX, .group = G_SAMPLING,
     .help = "No end before that many."},
    {"n", FLAG_INT, "1", V(COMPLETE), "N", .min = 1, .max = TD_CHOICES_MAX, .group = G_SAMPLING,
     .help = "Answers to each prompt."},
    {"temperature", FLAG_NUM, "1", GENERATE, "X", .max = 100, .group = G_SAMPLING, .help = "0: always the likeliest."},
    {"top-p", FLAG_NUM, "1", GENERATE, "X", .min = 1e-9, .max = 1, .group = G_SAMPLING,
     .help = "Draw from the likeliest that add up to X."},
    {"top-k", FLAG_INT, "0", GENERATE, "N", .min = -1, .max = TD_MODEL_VOCAB_MAX, .group = G_SAMPLING,
     .help = "Draw from the N likeliest; 0: all."},
    {"min-p", FLAG_NUM, "0", GENERATE, "X", .max = 1, .group = G_SAMPLING,
     .help = "Drop what is less likely than X times the likeliest."},
    {"typical-p", FLAG_NUM, "1", GENERATE, "X", .min = 1e-9, .max = 1, .group = G_SAMPLING,
     .help = "Locally typical sampling."},
    {"repetition-penalty", FLAG_NUM, "1", GENERATE, "X", .min = 1e-3, .max = 10, .group = G_SAMPLING,
     .help = "Divides logits of tokens seen."},
    {"presence-penalty", FLAG_NUM, "0", GENERATE, "X", .min = -2, .max = 2, .group = G_SAMPLING,
     .help = "Subtracted once a token was generated."},
    {"frequency-penalty", FLAG_NUM, "0", GENERATE, "X", .min = -2, .max = 2, .group = G_SAMPLING,
     .help = "Subtracted each time a token was generated."},
    {"seed", FLAG_INT, NULL, ENGINE | V(BENCH_SERVE), "N", .min = -9.3e18, .max = 9.3e18, .group = G_SAMPLING,
     .help = "Same seed, same answer; in `serve` the source of seeds for requests without one."},
    {"stop", FLAG_LIST, NULL, GENERATE, "TEXT", .group = G_SAMPLING, .help = "End before this text; repeatable."},
    {"stop-token-ids", FLAG_INTS, NULL, GENERATE, "IDS", .max = TD_MODEL_VOCAB_MAX, .group = G_SAMPLING,
     .help = "End at one of these ids, parted by commas."},
    {"ignore-eos", FLAG_BOOL, NULL, GENERATE, .group = G_SAMPLING, .help = "Go on after the model's end token."},

    /* ---- benchmark ---- */
    {"n-prompt", FLAG_INTS, "512", BENCH_MODEL, "N,…", .letter = 'p', .max = TD_MODEL_CTX_MAX, .group = G_BENCH,
     .help = "Prompt tokens; 0: no such row."},
    {"n-gen", FLAG_INTS, "128", BENCH_MODEL, "N,…", .letter = 'n', .max = TD_MODEL_CTX_MAX, .group = G_BENCH,
     .help = "Generated tokens; 0: no such row."},
    {"batch", FLAG_INTS, "1", BENCH_MODEL, "N,…", .letter = 'b', .min = 1, .max = TD_SEQS_MAX, .group = G_BENCH,
     .help = "Sequences at once."},
    {"depth", FLAG_INTS, "0", BENCH_MODEL, "N,…", .letter = 'd', .max = TD_MODEL_CTX_MAX, .group = G_BENCH,
     .help = "Tokens in the cache before the measured ones."},
    {"repeats", FLAG_INT, "5", BENCH_MODEL, "N", .letter = 'r', .min = 1, .max = 1000, .group = G_BENCH,
     .help = "Samples of each row."},
    {"format", FLAG_ENUM, "md", BENCH_MODEL | V(BENCH_ROOF) | V(BENCH_KERNELS), .letter = 'o',
     .choices = "md|csv|json", .group = G_BENCH, .help = "Form of the table."},

    /* ---- load generator ---- */
    {"url", FLAG_STR, NULL, V(BENCH_SERVE) | V(CHAT), "URL", .group = G_LOAD,
     .help = "OpenAI-compatible server to talk to, http://HOST:PORT or unix:PATH; `bench serve` takes "
             "http://127.0.0.1:8000 when it is absent."},
    {"model", FLAG_STR, NULL, V(BENCH_SERVE) | V(CHAT), "NAME", .group = G_LOAD,
     .help = "`model` of the requests to --url; default: the server's first."},
    {"endpoint", FLAG_ENUM, "completions", V(BENCH_SERVE), .choices = "completions|chat", .group = G_LOAD,
     .help = "Which API to call, streaming."},
    {"num-prompts", FLAG_INT, "100", V(BENCH_SERVE), "N", .min = 1, .max = 10000000, .group = G_LOAD,
     .help = "Requests."},
    {"request-rate", FLAG_NUM, NULL, V(BENCH_SERVE), "X", .min = 1e-6, .max = 1e6, .group = G_LOAD,
     .help = "Requests a second, Poisson; default: all at once."},
    {"burstiness", FLAG_NUM, "1", V(BENCH_SERVE), "X", .min = 1e-3, .max = 1e3, .group = G_LOAD,
     .help = "1: Poisson; larger: more even (gamma distributed gaps)."},
    {"max-concurrency", FLAG_INT, "0", V(BENCH_SERVE), "N", .max = 65536, .group = G_LOAD,
     .help = "Requests under way at most; 0: no bound."},
    {"input-len", FLAG_INT, "128", V(BENCH_SERVE), "N", .min = 1, .max = TD_MODEL_CTX_MAX, .group = G_LOAD,
     .help = "Tokens of a prompt."},
    {"output-len", FLAG_INT, "128", V(BENCH_SERVE), "N", .min = 1, .max = TD_MODEL_CTX_MAX, .group = G_LOAD,
     .help = "Tokens of an answer."},
    {"prefix-len", FLAG_INT, "0", V(BENCH_SERVE), "N", .max = TD_MODEL_CTX_MAX, .group = G_LOAD,
     .help = "Tokens that all prompts begin with, counted beside input-len."},
    {"goodput", FLAG_LIST, NULL, V(BENCH_SERVE), "NAME:MS", .traits = FLAG_MANY, .group = G_LOAD,
     .help = "Count requests that keep ttft, tpot or e2el under MS milliseconds."},
    {"save-result", FLAG_STR, NULL, V(BENCH_SERVE), "FILE", .group = G_LOAD, .help = "JSON result; - is stdout."},

    /* ---- HTTP ---- */
    {"host", FLAG_STR, "127.0.0.1", V(SERVE), "ADDR", .group = G_HTTP, .help = "Address to listen on."},
    {"port", FLAG_INT, "8000", V(SERVE), "N", .max = 65535, .group = G_HTTP, .help = "0: any free port."},
    {"uds", FLAG_STR, NULL, V(SERVE), "PATH", .group = G_HTTP, .help = "Unix socket instead of host and port."},
    {"api-key", FLAG_LIST, NULL, V(SERVE) | V(BENCH_SERVE) | V(CHAT), "KEY", .traits = FLAG_SECRET, .group = G_HTTP,
     .help = "Key that requests must carry; repeatable. Visible to other users: prefer the file."},
    {"api-key-file", FLAG_STR, NULL, V(SERVE) | V(BENCH_SERVE) | V(CHAT), "FILE", .group = G_HTTP,
     .help = "Keys, one a line; read again on SIGHUP."},
    {"ssl-certfile", FLAG_STR, NULL, V(SERVE), "FILE", .group = G_HTTP, .help = "Certificate chain: serve HTTPS."},
    {"ssl-keyfile", FLAG_STR, NULL, V(SERVE), "FILE", .group = G_HTTP, .help = "Its private key."},
    {"ssl-ca-certs", FLAG_STR, NULL, V(SERVE) | V(BENCH_SERVE) | V(CHAT), "FILE", .group = G_HTTP,
     .help = "`serve`: ask clients for certificates of these authorities. With --url: trust these instead of the "
             "system's."},
    {"enable-ssl-refresh", FLAG_BOOL, NULL, V(SERVE), .group = G_HTTP, .help = "Read changed certificates again."},
    {"render-open", FLAG_BOOL, NULL, V(SERVE), .group = G_HTTP, .help = "Render paths need no key."},
    {"enable-debug", FLAG_BOOL, NULL, V(SERVE), .group = G_HTTP,
     .help = "Paths below /debug/: requests, KV blocks, faults on purpose. Where others reach the port it wants API "
             "keys."},
    {"metrics-require-key", FLAG_BOOL, NULL, V(SERVE), .group = G_HTTP, .help = "/metrics needs a key."},
    {"disable-access-log-for-endpoints", FLAG_LIST, NULL, V(SERVE), "PATHS", .traits = FLAG_SPLIT, .group = G_HTTP,
     .help = "No log line for these paths."},
    {"shutdown-timeout", FLAG_INT, "45", V(SERVE), "S", .max = 86400, .group = G_HTTP,
     .help = "Seconds for running requests after SIGTERM; 0: they are cut off at once."},
    {"health-stall", FLAG_INT, "60", V(SERVE) | V(RUN_BATCH), "S", .min = 1, .max = 86400, .group = G_HTTP,
     .help = "Seconds without progress before /health is 503; after five times that the process ends with 70."},

    /* ---- several ranks ---- */
    {"role", FLAG_ENUM, "both", V(SERVE), .choices = "both", .group = G_PARALLEL,
     .why = "prefill and decode are planned", .help = "Which part of a request this process does."},
#define ONE_RANK .min = 1, .max = 1, .group = G_PARALLEL, .help = "Accepted as 1."
    {"tensor-parallel-size", FLAG_INT, "1", ENGINE, "N", ONE_RANK, .why = "tensor parallelism is planned"},
    {"pipeline-parallel-size", FLAG_INT, "1", ENGINE, "N", ONE_RANK, .why = "pipeline parallelism is planned"},
    {"data-parallel-size", FLAG_INT, "1", ENGINE, "N", ONE_RANK, .why = "data parallelism is planned"},
    {"nnodes", FLAG_INT, "1", ENGINE, "N", ONE_RANK, .why = "runs over several machines are planned"},
#undef ONE_RANK

    /* ---- known from vLLM ---- */
#define NO_EFFECT(flag, kind, reason) \
    {flag, kind, NULL, ENGINE, .traits = FLAG_IGNORED, .group = G_FOREIGN, .why = reason},
#define REFUSED(flag, kind, reason) \
    {flag, kind, NULL, ENGINE, .traits = FLAG_REFUSED, .group = G_FOREIGN, .why = reason},
    NO_EFFECT("enable-chunked-prefill", FLAG_BOOL, "prefill is always cut into chunks; answers are the same either way")
    NO_EFFECT("trust-remote-code", FLAG_BOOL, "no code from models is ever run")
    NO_EFFECT("enforce-eager", FLAG_BOOL, "nothing is captured or compiled at run time")
    NO_EFFECT("swap-space", FLAG_STR, "preempted requests are computed again, not swapped")
    NO_EFFECT("async-scheduling", FLAG_BOOL, "the scheduler decides")
    NO_EFFECT("disable-log-requests", FLAG_BOOL, "prompts are never logged")
    NO_EFFECT("enable-log-requests", FLAG_BOOL, "prompts are never logged")
    NO_EFFECT("disable-log-stats", FLAG_BOOL, "figures are at /metrics only")
    NO_EFFECT("disable-uvicorn-access-log", FLAG_BOOL, "see --disable-access-log-for-endpoints")
    NO_EFFECT("uvicorn-log-level", FLAG_STR, "see --log-level")
    NO_EFFECT("max-log-len", FLAG_STR, "prompts are never logged")
    NO_EFFECT("tokenizer-mode", FLAG_STR, "there is one tokenizer")
    NO_EFFECT("compilation-config", FLAG_STR, "nothing is compiled at run time")
    NO_EFFECT("cuda-graph-sizes", FLAG_STR, "nothing is captured on this device")
    NO_EFFECT("max-seq-len-to-capture", FLAG_STR, "nothing is captured on this device")
    NO_EFFECT("disable-custom-all-reduce", FLAG_BOOL, "there is one rank")
    NO_EFFECT("distributed-executor-backend", FLAG_STR, "there is one process")
    NO_EFFECT("max-parallel-loading-workers", FLAG_STR, "loading uses the compute threads")
    NO_EFFECT("download-dir", FLAG_STR, "nothing is downloaded")
    NO_EFFECT("disable-frontend-multiprocessing", FLAG_BOOL, "there is one process")
    NO_EFFECT("ui", FLAG_BOOL, "there is no built-in page")
    NO_EFFECT("enable-server-load-tracking", FLAG_BOOL, "/load always answers")
    REFUSED("enable-lora", FLAG_BOOL, "adapters are planned")
    REFUSED("lora-modules", FLAG_STR, "adapters are planned")
    REFUSED("enable-auto-tool-choice", FLAG_BOOL, "parsing of tool calls is planned")
    REFUSED("tool-call-parser", FLAG_STR, "parsing of tool calls is planned")
    REFUSED("reasoning-parser", FLAG_STR, "splitting off reasoning is planned")
    REFUSED("kv-transfer-config", FLAG_STR, "splitting prefill and decode is planned")
    REFUSED("kv-events-config", FLAG_STR, "cache events are planned")
    REFUSED("kv-listen", FLAG_STR, "splitting prefill and decode is planned")
    REFUSED("kv-advertise", FLAG_STR, "splitting prefill and decode is planned")
    REFUSED("kv-allow-numerics", FLAG_STR, "splitting prefill and decode is planned")
    REFUSED("kv-transport", FLAG_STR, "splitting prefill and decode is planned")
    REFUSED("kv-secret-file", FLAG_STR, "splitting prefill and decode is planned")
    REFUSED("kv-lease", FLAG_STR, "splitting prefill and decode is planned")
    REFUSED("kv-peers", FLAG_STR, "splitting prefill and decode is planned")
    REFUSED("allow-prefiller-header", FLAG_BOOL, "splitting prefill and decode is planned")
    REFUSED("kv-tier", FLAG_STR, "cache tiers are planned")
    REFUSED("node-rank", FLAG_STR, "runs over several machines are planned")
    REFUSED("master-addr", FLAG_STR, "runs over several machines are planned")
    REFUSED("master-port", FLAG_STR, "runs over several machines are planned")
    REFUSED("download", FLAG_BOOL, "downloads are planned; bring the model into the hub cache first")
    REFUSED("revision", FLAG_STR, "write MODEL as org/name@revision")
    REFUSED("otlp-traces-endpoint", FLAG_STR, "export of traces is planned")
    REFUSED("enable-expert-parallel", FLAG_BOOL, "expert parallelism is planned")
    REFUSED("speculative-config", FLAG_STR, "drafting is planned")
    REFUSED("quantization", FLAG_STR, "a model's files tell how it is quantised")
    REFUSED("tokenizer", FLAG_STR, "the tokenizer is the model's own")
    REFUSED("hf-overrides", FLAG_STR, "a model's configuration is taken as it is")
    REFUSED("rope-scaling", FLAG_STR, "a model's configuration is taken as it is")
    REFUSED("override-generation-config", FLAG_STR, "give the parameters in requests")
    REFUSED("lora-dtype", FLAG_STR, "adapters are planned")
    REFUSED("max-loras", FLAG_STR, "adapters are planned")
    REFUSED("root-path", FLAG_STR, "let the proxy strip the prefix")
    REFUSED("middleware", FLAG_STR, "there is no Python here")
    REFUSED("allow-credentials", FLAG_BOOL, "browsers of other origins are not served; put a proxy in front")
    REFUSED("allowed-origins", FLAG_STR, "browsers of other origins are not served; put a proxy in front")
#undef NO_EFFECT
#undef REFUSED
};

static const flags_verb verbs[VERB_COUNT] = {
    [VERB_SERVE] = {"serve", "MODEL", "the OpenAI-compatible HTTP server",
                    "Serve MODEL over HTTP until SIGTERM or Ctrl-C, for example\n"
                    "  tandem serve model.gguf --port 8000 --api-key-file keys.txt"},
    [VERB_COMPLETE] = {"complete", "MODEL", "continue one or more texts, streamed to stdout",
                       "Continue each -p TEXT, or stdin, for example\n"
                       "  tandem complete model.gguf -p 'Once upon a time' -n 64 --temperature 0.7"},
    [VERB_CHAT] = {"chat", "[MODEL]", "talk to a model in the terminal",
                   "Talk to MODEL, or with --url to a server, in the terminal. Ctrl-C stops an answer, /exit or Ctrl-D "
                   "ends, /help lists the other commands (/reset, /retry, /system). A line that ends with \\ goes on "
                   "in the next one; Alt-Enter breaks a line, and pasted text keeps its lines. With -p its turns are "
                   "answered and the program ends. With --url the server decides what is not given here; flags of "
                   "memory, batch and device are of no use."},
    [VERB_RUN_BATCH] = {"run-batch", "MODEL", "a file of OpenAI batch requests in, results out",
                        "Lines {\"custom_id\":…,\"method\":\"POST\",\"url\":\"/v1/chat/completions\",\"body\":{…}} in, "
                        "lines {\"id\":…,\"custom_id\":…,\"response\":{\"status_code\":…,\"body\":…},\"error\":…} out. "
                        "A bad line becomes a result with an error; the exit status is 6 then. What ends the run early "
                        "leaves OUT.part, and --resume goes on there, if input and model are the same."},
    [VERB_BENCH_LATENCY] = {"bench latency", "MODEL", "speed of prompt reading and generation, row by row",
                            "Rows as llama-bench names them: pp512 reads a prompt of 512 tokens, tg128 generates 128 "
                            "tokens, for each batch and depth; tokens a second of all sequences together, mean and "
                            "standard deviation over the repeats."},
    [VERB_BENCH_THROUGHPUT] = {"bench throughput", "MODEL",
                               "speed of whole requests, prompt and answer together",
                               "Rows pp512+tg128: a prompt of 512 tokens is read and 128 tokens are generated; tokens "
                               "a second of both together and of all sequences."},
    [VERB_BENCH_SERVE] = {"bench serve", "", "load a running server and measure it",
                          "Send streaming requests to any OpenAI-compatible server and time each piece, for example\n"
                          "  tandem bench serve --url http://127.0.0.1:8000 --max-concurrency 8"},
    [VERB_TOKENIZE] = {"tokenize", "MODEL", "text on stdin to token ids",
                       "Text on stdin to {\"tokens\":[…]}. --jsonl: lines {\"text\":…,\"add_special\":bool} to lines "
                       "{\"tokens\":[…]}. A GGUF with nothing but a vocabulary is enough."},
    [VERB_DETOKENIZE] = {"detokenize", "MODEL", "token ids on stdin to text",
                         "Ids on stdin, parted by spaces or commas or as {\"tokens\":[…]}, to {\"text\":…}. --jsonl: "
                         "lines {\"tokens\":[…]} to lines {\"text\":…}."},
    [VERB_RENDER] = {"render", "MODEL", "chat messages on stdin to prompt text",
                     "Lines {\"messages\":[…],\"tools\":[…],\"add_generation_prompt\":bool,…} on stdin to lines "
                     "{\"prompt\":…} or {\"error\":…}. Other members are variables of the template."},
    [VERB_LOGITS] = {"logits", "MODEL", "logits of given token ids",
                     "Lines {\"tokens\":[…],\"positions\":[…]} on stdin to lines {\"logits\":[[…]…]}; positions are "
                     "the last one when absent."},
    [VERB_PERPLEXITY] = {"perplexity", "MODEL", "perplexity of a text",
                         "The text is cut into windows of --ctx tokens, side by side; BOS, where the model adds one, "
                         "takes the place of each window's first token, and the tokens of its second half are scored, "
                         "each given all before it in the window: what llama-perplexity does with -b equal to -c."},
    [VERB_INSPECT] = {"inspect", "MODEL", "configuration, tensors, memory plan and kernels of a model",
                      "What MODEL is and how it would run here: the plan is made with the flags given."},
    [VERB_BENCH_ROOF] = {"bench roof", "", "what this machine reads and multiplies at best", NULL},
    [VERB_BENCH_KERNELS] = {"bench kernels", "", "matrix products of every weight type against those limits", NULL},
    [VERB_VERSION] = {"version", "", "version, libraries, instruction sets", NULL},
    [VERB_COMPLETION] = {"completion", "SHELL", "completion script for bash, zsh or fish",
                         "Print a completion script for bash, zsh or fish, for example\n"
                         "  source <(tandem completion bash)"},
    [VERB_HELP] = {"help", "[VERB]", "this text, or a verb's flags", NULL},
};

static const char *const env_ignored[] = {"TANDEM_SERVICE_", "TANDEM_PORT_", NULL};

static const char *const notes[] = {
    "MODELS",
    "MODEL is a .gguf file (the first part of a split one), a directory in the Hugging Face layout, or "
    "org/name[@revision] in the hub cache (HF_HUB_CACHE, HF_HOME).",
    "EXIT STATUS",
    "0 done; also serve, chat and complete after SIGTERM or SIGINT, whether what ran could end or was cut off\n"
    "1 failed while running; also a batch that a signal ended before each line had a result\n2 wrong usage\n"
    "3 model invalid or not supported\n4 not enough memory, or device missing\n5 cannot bind\n"
    "6 a batch finished with failed lines, or --fail-fast stopped it\n"
    "70 the engine stood still or lost its device, see --health-stall; or an internal error",
    "ENVIRONMENT",
    "Every flag may be given as TANDEM_NAME: TANDEM_MAX_MODEL_LEN=8k. Unknown names that begin so are errors; those "
    "that Kubernetes makes for services are passed over.",
    NULL,
};

const flags_table verbs_table = {
    .program = "tandem",
    .summary = "LLM inference engine and model server",
    .env_prefix = "TANDEM_",
    .env_ignored = env_ignored,
    .layers = "for sampling the model's `generation_config.json`",
    .groups = groups,
    .defs = defs,
    .def_count = TD_COUNT(defs),
    .verbs = verbs,
    .verb_count = VERB_COUNT,
    .notes = notes,
};
