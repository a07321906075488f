// tests/simt/address_sanitizer.h — whether AddressSanitizer is on (SIMT_ASAN), and its calls, which
// otherwise do nothing.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define SIMT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIMT_ASAN 1
#endif
#endif

#if defined(SIMT_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define SIMT_ASAN 0
#define __asan_poison_memory_region(begin, bytes) ((void)(begin), (void)(bytes))
#define __asan_unpoison_memory_region(begin, bytes) ((void)(begin), (void)(bytes))
#define __sanitizer_start_switch_fiber(fake_stack, bottom, bytes) ((void)0)
#define __sanitizer_finish_switch_fiber(fake_stack, bottom, bytes) ((void)0)
#endif
