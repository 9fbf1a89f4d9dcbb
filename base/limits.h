/* limits.h - every bound in one place, with the reason for its size. */
#ifndef TD_BASE_LIMITS_H
#define TD_BASE_LIMITS_H

/* JSON from requests. cJSON needs about 80 bytes a node: 200 k nodes are 16 MB for one request. */
#define TD_JSON_DEPTH_MAX 64
#define TD_JSON_NODES_MAX 200000
/* JSON from model files: tokenizer.json of a 256 k vocabulary has about a million nodes. */
#define TD_JSON_FILE_NODES_MAX 8000000

/* Model files (GGUF, safetensors, configuration). */
#define TD_MODEL_TENSORS_MAX 1000000
#define TD_MODEL_DIMS_MAX 8
#define TD_MODEL_NAME_MAX 256
#define TD_MODEL_KV_MAX 1000000
#define TD_MODEL_ARRAY_MAX 16000000        // elements of one metadata array; vocabularies are about 256 k
#define TD_MODEL_STRINGS_BYTES_MAX (64u << 20)
#define TD_MODEL_HEADER_BYTES_MAX (100u << 20)
#define TD_MODEL_SHARDS_MAX 1024
#define TD_MODEL_ALIGN_MAX (1u << 20)      // of tensor data; files in the wild use 32
#define TD_MODEL_LAYERS_MAX 512
#define TD_MODEL_HIDDEN_MAX 65536
#define TD_MODEL_FFN_MAX 1048576
#define TD_MODEL_HEADS_MAX 1024
#define TD_MODEL_HEAD_DIM_MAX 512
#define TD_MODEL_VOCAB_MAX 2000000
#define TD_MODEL_CTX_MAX (16 << 20)

/* Tokenizers. A text is addressed with 32 bits inside a word; a request's body is far smaller. */
#define TD_TOK_TEXT_BYTES_MAX (256u << 20)
#define TD_TOK_FILE_BYTES_MAX (256u << 20) // tokenizer.json of a 256 k vocabulary is 33 MB
#define TD_TOK_PIECE_BYTES_MAX (64u << 10) // one vocabulary entry
#define TD_TOK_MERGES_MAX 8000000
#define TD_TOK_MARK_BYTES_MAX 64            // continuing_subword_prefix, end_of_word_suffix
#define TD_TOK_CHARSMAP_BYTES_MAX (2u << 20) // SentencePiece's largest own table has 250 KB
#define TD_TOK_STEPS_MAX 64                // normalizers, pre-tokenizers, decoders of one file, each
#define TD_TOK_DEPTH_MAX 16                // Sequence inside Sequence
#define TD_TOK_TEMPLATE_MAX 32             // ids that a post-processor puts around a text
#define TD_TOK_REGEX_BYTES_MAX (64u << 10)
#define TD_TOK_REGEX_MATCH_MAX 10000000u   // PCRE2 match limit of one search: some tens of milliseconds
#define TD_TOK_REGEX_HEAP_KB_MAX (256u << 10)
#define TD_TOK_GROWTH_MAX 64               // a normalizer may make a text this much longer

/* Reductions: canonical K chunks of a matrix product (DECISIONS of numerics: 8 on CPUs). */
#define TD_K_CHUNKS_MAX 8

/* Configuration file of the command line: hand-written, a few hundred lines. */
#define TD_CONFIG_BYTES_MAX (1u << 20)

/* KV cache. */
#define TD_KV_GROUPS_MAX 64
#define TD_KV_BLOCK_TOK_MAX 1024
#define TD_KV_HASH_UNIT_TOK 16             // tokens per hash-chain link, everywhere

/* Engine. */
#define TD_THREAD_STACK_BYTES (8 << 20)    // of every thread that is started: virtual, touched where it is used
#define TD_MAIN_STACK_BYTES (2 << 20)      // without which no verb begins
#define TD_THREADS_MAX 512
#define TD_MEMORY_MARGIN_BYTES (32ull << 20) // of a bound on memory, and a sixteenth of it: requests, answers, stacks
#define TD_MEMORY_MARGIN_SHARE 16
#define TD_MEMORY_ADMIT_PERCENT 95         // of --max-rss; beyond it new requests are turned away
#define TD_SEQS_MAX 4096                   // requests in one step
#define TD_BATCH_TOK_MAX 65536             // tokens in one step
#define TD_CHOICES_MAX 16                  // n
#define TD_STOP_STRINGS_MAX 16
#define TD_STOP_STRING_BYTES_MAX 256
#define TD_STOP_IDS_MAX 64
#define TD_TEMPERATURE_MAX 100.0
#define TD_TEMPERATURE_GREEDY 1e-5f        // below it the most probable token is drawn: its inverse must stay finite
#define TD_REPETITION_PENALTY_MIN 1e-3     // logits divided by less would leave the range of a float
#define TD_REPETITION_PENALTY_MAX 10.0
#define TD_LOGPROBS_MAX 20
#define TD_LOGIT_BIAS_MAX 1024
#define TD_BAD_WORDS_MAX 64
#define TD_BAD_WORD_TOK_MAX 16
#define TD_ALLOWED_IDS_MAX 65536

/* HTTP. */
#define TD_HTTP_HEADER_BYTES_MAX (32u << 10)
#define TD_HTTP_HEADERS_MAX 100
#define TD_HTTP_URI_BYTES_MAX (8u << 10)
#define TD_HTTP_QUERY_ARGS_MAX 100         // the library keeps about 100 bytes for each, of 96 KiB a connection
#define TD_HTTP_COOKIES_MAX 200
#define TD_HTTP_PARSE_SECONDS 5            // of the library, from the end of a request until it is dispatched
#define TD_HTTP_BODY_BYTES_MAX (16u << 20)
#define TD_HTTP_CONNECTIONS_MAX 4096
#define TD_HTTP_HEADER_SECONDS 10
#define TD_HTTP_BODY_SECONDS 60
#define TD_HTTP_BODY_BYTES_PER_SECOND_MIN 1024
#define TD_HTTP_REQUEST_SECONDS 600
#define TD_HTTP_STALL_SECONDS 60           // a stream that accepts no byte for this long is closed
#define TD_HTTP_STREAM_BYTES_MAX (4u << 20) // of a stream that its client does not take, beyond its largest event
#define TD_HTTP_ANSWERS_BYTES_MAX (256ull << 20) // of all answers that their clients have not taken
#define TD_HTTP_ANSWER_SMALL_BYTES (64u << 10) // answers that are sent however many others wait
#define TD_HTTP_ANSWER_BYTES_PER_SECOND_MIN 16384 // at which an answer that is complete must be taken
#define TD_HTTP_BODIES_BYTES_MAX (512ull << 20) // of all requests being read or parsed at one time
#define TD_HTTP_BODIES_SMALL_BYTES_MAX (128ull << 20) // of them kept for bodies of up to TD_HTTP_BODY_SMALL_BYTES
#define TD_HTTP_BODY_SMALL_BYTES (1u << 20)
#define TD_HTTP_IGNORED_BODY_BYTES (64u << 10) // that a path without a body, or a refusal, reads and drops
#define TD_HTTP_IDLE_SECONDS 300           // a kept-alive connection without a request
#define TD_HTTP_LINGER_SECONDS 2           // reading on after a refusal, so that the client sees the answer
#define TD_HTTP_PING_SECONDS 15            // comment line on a silent stream, so that proxies keep it
#define TD_HTTP_CHUNK_EXT_BYTES_MAX 128    // extensions of one chunk of a chunked body
#define TD_HTTP_SHUTDOWN_SECONDS 45
#define TD_HTTP_DRAIN_BODY_SECONDS 1       // for bodies that are on their way when nothing else runs any more
#define TD_HTTP_HEALTH_STALL_SECONDS 60
#define TD_HTTP_WATCHDOG_STALLS 5          // the process ends after so many times health_stall without progress
#define TD_HTTP_WORKERS 2
#define TD_HTTP_LARGE_JOB_BYTES (64u << 10) // bodies above it leave a worker to the others
#define TD_HTTP_LARGE_JOB_TURN 8           // small jobs that may go before a large one that waits
#define TD_TOKENIZE_BYTES_MAX (1u << 20)   // of a text that is only tokenized, whatever the context of the model
#define TD_API_KEYS_MAX 1024
#define TD_API_KEY_BYTES_MAX 1024
#define TD_SERVED_NAMES_MAX 64
#define TD_REQUEST_ID_BYTES_MAX 128
#define TD_PROMPTS_MAX 256                 // prompts of one completions request
#define TD_MESSAGES_MAX 4096
#define TD_CONTENT_PARTS_MAX 1024
#define TD_TOOLS_MAX 128
#define TD_DEBUG_ROWS_MAX 4096             // of one answer below /debug/
#define TD_TOOL_BYTES_MAX (64u << 10)

/* Chat templates. */
#define TD_JINJA_STEPS_MAX 1000000
#define TD_JINJA_DEPTH_MAX 64
#define TD_JINJA_OUT_BYTES_MAX (32u << 20)
#define TD_JINJA_RANGE_MAX 100000
#define TD_JINJA_SOURCE_BYTES_MAX (1u << 20)
#define TD_JINJA_BYTES_PER_STEP 128        // of text that is searched or copied
#define TD_JINJA_MEMORY_BYTES_MAX (4 * TD_JINJA_OUT_BYTES_MAX) // of one render, its values and scratch together
#define TD_JINJA_NEST_MAX (16 * TD_JINJA_DEPTH_MAX) // evaluations inside each other, all macro calls together
#define TD_JINJA_HEIGHT_MAX 512            // of an expression's tree: a.b.c.… and f|g|h|… grow it without nesting
#define TD_JINJA_COMPARES_MAX 64           // a < b < c < …
#define TD_JINJA_PRECISION_MAX 100         // digits that a format may ask for
#define TD_JINJA_STRFTIME_BYTES_MAX 256    // format of strftime_now()

#endif
