/* fake_engine.h - a scripted engine behind engine/tandem.h, so that the server can be tested without a model.
 *
 * The model's name sets it up: "fake:load_ms=500,step_us=2000,blocks=1024". Tokens 0–255 are bytes, 256 is BOS, 257
 * EOS, 258–260 the chat roles. Each step gives every running choice one token, an endless text unless the prompt says
 * else:
 *   !!say TEXT        that text up to the end of the line, then EOS
 *   !!stall MS        the step loop stands still for so long when the request starts
 *   !!fail N          the request fails after N tokens
 *   !!fault           the device is lost when the request starts
 * Blocks of 16 tokens are counted as the real engine counts them: free + cached + held = total. */
#ifndef TD_TESTS_FAKE_ENGINE_H
#define TD_TESTS_FAKE_ENGINE_H

#include "engine/tandem.h"

enum { FAKE_BOS = 256, FAKE_EOS = 257, FAKE_USER = 258, FAKE_ASSISTANT = 259, FAKE_SYSTEM = 260, FAKE_VOCAB = 512 };

#endif
