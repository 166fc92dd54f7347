// Comes before everything else in kernel sources that clang instruments for the checks (-fsanitize=thread
// with -include): copies and fills of whole structures, which clang leaves as calls of memcpy and its
// siblings, go to the hooks of tsan_hooks.cc like all other accesses.
#pragma once

#if !defined(__has_feature) || !__has_feature(thread_sanitizer)
#error "for sources compiled by clang with -fsanitize=thread"
#endif

__asm__("memcpy = __tsan_memcpy");
__asm__("memmove = __tsan_memmove");
__asm__("memset = __tsan_memset");
