#include "model/spm_wrap.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <sentencepiece_processor.h>
#include <vector>

struct spm_lib {
    sentencepiece::SentencePieceProcessor processor;
};

extern "C" spm_lib *spm_lib_new(const char *bytes, size_t len, char *why, size_t why_len)
{
    spm_lib *lib = nullptr;
    std::snprintf(why, why_len, "not enough memory");
    try {
        lib = new spm_lib;
        auto status = lib->processor.LoadFromSerializedProto(absl::string_view(bytes, len));
        if (status.ok())
            return lib;
        std::snprintf(why, why_len, "%s", status.ToString().c_str());
    } catch (...) { // only memory can run out here; `why` says so
    }
    delete lib;
    return nullptr;
}

extern "C" void spm_lib_free(spm_lib *lib) { delete lib; }

extern "C" int spm_lib_encode(const spm_lib *lib, const char *text, size_t len, int **ids, size_t *count)
{
    try {
        std::vector<int> got;
        if (!lib->processor.Encode(absl::string_view(text, len), &got).ok())
            return -1;
        int *copy = static_cast<int *>(std::malloc(got.size() * sizeof(int) + 1));
        if (!copy)
            return -1;
        if (!got.empty())
            std::memcpy(copy, got.data(), got.size() * sizeof(int));
        *ids = copy;
        *count = got.size();
        return 0;
    } catch (...) {
        return -1;
    }
}

extern "C" void spm_lib_ids_free(int *ids) { std::free(ids); }
