/* What every reader does at the end: which tokens end a generation, and whether all ids are good.
 *
 * Files name one or a few such ids, and often too few: a chat model's eos_token_id may be the end of a document while
 * its turns end with another token. So texts that mean an end in the model families known to us count too. */
#include "model/tok_int.h"

#include "base/check.h"
#include "base/limits.h"

#include <stdlib.h>
#include <string.h>

/* Ends of a turn, a message or a text. */
static const char *const ends[] = {
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|calls|>", "<|flush|>", "<end_of_turn>",
    "<|endoftext|>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>", "<end_of_utterance>",
    "<eos>", "<turn|>", "<|tool_response>", "[e~[",
    "<\xEF\xBD\x9C" "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>"};

/* Also ends, but only where the file calls them control tokens: elsewhere they are text. */
static const char *const ends_if_control[] = {
    "</s>", "<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]", "<|fim_repo|>", "<|repo_name|>", "<fim-repo>",
    "<REPO>", "<reponame>", "<|file_sep|>"};

enum { SPM_EOS_MAX = 2 }; // <unk>, <s>, </s> begin a vocabulary; elsewhere </s> is a tag of HTML

static token_id named(const tokenizer *t, const char *name) { return tok_vocab_find(&t->vocab, name, strlen(name)); }

/* Where a message ends with <|end|> but the turn goes on until another token, <|end|> does not stop. */
static bool end_goes_on(const tokenizer *t)
{
    bool call = named(t, "<|call|>") >= 0, calls = named(t, "<|calls|>") >= 0;
    return (named(t, "<|return|>") >= 0 && call) || (named(t, "<|flush|>") >= 0 && calls);
}

td_rc tokenizer_find_ends(tokenizer *t, td_err *err)
{
    bool ok = t->eos < 0 || token_list_add(&t->stop, t->eos);
    for (size_t i = 0; ok && i < TD_COUNT(ends); i++) {
        token_id id = named(t, ends[i]);
        if (id < 0 || (strcmp(ends[i], "<|end|>") == 0 && end_goes_on(t)))
            continue;
        t->vocab.entry[id].kind = TOK_CONTROL;
        ok = token_list_add(&t->stop, id);
    }
    token_id s = named(t, "</s>"); // at SentencePiece's own place for it, whatever kind the file gives it
    if (s >= 0 && s <= SPM_EOS_MAX)
        t->vocab.entry[s].kind = TOK_CONTROL;
    bool text = named(t, "<|tool_response>") >= 0; // this family has </s> as ordinary text
    for (size_t i = text ? 1 : 0; ok && i < TD_COUNT(ends_if_control); i++) {
        token_id id = named(t, ends_if_control[i]);
        if (id >= 0 && t->vocab.entry[id].kind == TOK_CONTROL)
            ok = token_list_add(&t->stop, id);
    }
    return ok ? TD_OK : td_fail(err, TD_E_NOMEM, "not enough memory for a tokenizer");
}

static int by_id(const void *a, const void *b)
{
    token_id x = *(const token_id *)a, y = *(const token_id *)b;
    return (x > y) - (x < y);
}

static td_rc check_ids(const tokenizer *t, const token_list *l, const char *what, td_err *err)
{
    for (size_t i = 0; i < l->count; i++)
        if (!tok_vocab_has(&t->vocab, l->ids[i]))
            return td_fail(err, TD_E_MODEL, "%s has id %d, which is not in the vocabulary of %d", what, l->ids[i],
                           t->vocab.count);
    return TD_OK;
}

static size_t piece_bytes_max(const tokenizer *t)
{
    size_t len = t->vocab.len_max + 1; // a joining space
    for (size_t i = 0; i < t->decode.count; i++) {
        const decode_step *s = &t->decode.step[i];
        if (s->kind == DECODE_REPLACE && s->to_len > s->from_len)
            len *= s->to_len / TD_MAX(s->from_len, (size_t)1) + 1;
    }
    return len;
}

td_rc tokenizer_finish(tokenizer *t, td_err *err)
{
    const struct {
        const char *name;
        token_id id;
    } one[] = {{"bos", t->bos}, {"eos", t->eos}, {"unk", t->unk}, {"pad", t->pad}};
    for (size_t i = 0; i < TD_COUNT(one); i++)
        if (one[i].id != -1 && !tok_vocab_has(&t->vocab, one[i].id))
            return td_fail(err, TD_E_MODEL, "%s token %d is not in the vocabulary of %d", one[i].name, one[i].id,
                           t->vocab.count);
    td_rc rc = check_ids(t, &t->prefix, "the beginning of a text", err);
    if (rc == TD_OK)
        rc = check_ids(t, &t->suffix, "the end of a text", err);
    if (rc == TD_OK)
        rc = check_ids(t, &t->stop, "an end-of-text token", err);
    if (rc != TD_OK)
        return rc;
    token_list *s = &t->stop;
    if (s->count)
        qsort(s->ids, s->count, sizeof *s->ids, by_id);
    size_t n = 0;
    for (size_t i = 0; i < s->count; i++)
        if (i == 0 || s->ids[i] != s->ids[n - 1])
            s->ids[n++] = s->ids[i];
    s->count = n;
    t->piece_bytes_max = piece_bytes_max(t);
    return TD_OK;
}
