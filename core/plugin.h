// What a plugin includes: the policy interfaces, the macro that registers its policies, and the record by
// which `pagelab` sees whether the plugin was built for it.
//
// A plugin is a shared library with one PAGELAB_PLUGIN in it, outside of any namespace:
//
//   PAGELAB_PLUGIN(registry) {
//     registry.add<pagelab::SchedulingPolicy, MyPolicy>({.name = "mine", .summary = "what it does"});
//   }
//
// It exports two names: `pagelab_plugin_abi`, plain data, which is compared with the program's own record
// before anything else of the library is used, and `pagelab_plugin_register`. The program owns the loaded
// library and keeps it until the policies made from it are gone. Build it with pagelab_plugin() of the CMake
// package, which sets the flags and links the few functions behind these headers.
#pragma once

#include <cstddef>
#include <string_view>
#include <version>  // the standard library's macros

#include "core/plugin_abi.h"
#include "core/plugin_build.h"
#include "core/policy_registry.h"

namespace pagelab {

#define PAGELAB_TEXT_(value) #value
#define PAGELAB_TEXT(value) PAGELAB_TEXT_(value)
#if defined(__clang__)
#define PAGELAB_COMPILER_TEXT                                                                \
  "Clang " PAGELAB_TEXT(__clang_major__) "." PAGELAB_TEXT(__clang_minor__) "." PAGELAB_TEXT( \
      __clang_patchlevel__)
#else
#define PAGELAB_COMPILER_TEXT \
  "GCC " PAGELAB_TEXT(__GNUC__) "." PAGELAB_TEXT(__GNUC_MINOR__) "." PAGELAB_TEXT(__GNUC_PATCHLEVEL__)
#endif
#if defined(_LIBCPP_VERSION)
#define PAGELAB_LIBRARY_TEXT "libc++ " PAGELAB_TEXT(_LIBCPP_VERSION)
#elif defined(_GLIBCXX_DEBUG)
#define PAGELAB_LIBRARY_TEXT \
  "libstdc++ " PAGELAB_TEXT(_GLIBCXX_RELEASE) ", ABI " PAGELAB_TEXT(_GLIBCXX_USE_CXX11_ABI) ", debug mode"
#else
#define PAGELAB_LIBRARY_TEXT \
  "libstdc++ " PAGELAB_TEXT(_GLIBCXX_RELEASE) ", ABI " PAGELAB_TEXT(_GLIBCXX_USE_CXX11_ABI)
#endif
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PAGELAB_SANITIZER_TEXT "address"
#elif __has_feature(thread_sanitizer)
#define PAGELAB_SANITIZER_TEXT "thread"
#elif __has_feature(memory_sanitizer)
#define PAGELAB_SANITIZER_TEXT "memory"
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define PAGELAB_SANITIZER_TEXT "address"
#elif defined(__SANITIZE_THREAD__)
#define PAGELAB_SANITIZER_TEXT "thread"
#endif
#ifndef PAGELAB_SANITIZER_TEXT
#define PAGELAB_SANITIZER_TEXT "none"
#endif

/// The record of whatever is being compiled.
constexpr PluginAbi plugin_abi() {
  const auto put = []<std::size_t n>(char(&field)[n], std::string_view text) {
    for (std::size_t i = 0; i < text.size(); ++i) {
      field[i] = text[i];  // a text that is too long does not compile
    }
    field[text.size()] = '\0';
  };
  PluginAbi abi{};
  put(abi.magic, PluginAbi::mark);
  abi.size = sizeof(PluginAbi);
  put(abi.pagelab, PAGELAB_PLUGIN_VERSION);
  put(abi.compiler, PAGELAB_COMPILER_TEXT);
  put(abi.standard_library, PAGELAB_LIBRARY_TEXT);
  put(abi.sanitizers, PAGELAB_SANITIZER_TEXT);
#ifdef NDEBUG
  put(abi.assertions, "off");
#else
  put(abi.assertions, "on");
#endif
  put(abi.interface_hash, PAGELAB_INTERFACE_HASH);
  return abi;
}

}  // namespace pagelab

extern "C" {
extern __attribute__((visibility("default"))) const pagelab::PluginAbi pagelab_plugin_abi;
__attribute__((visibility("default"))) void pagelab_plugin_register(pagelab::PolicyRegistry& registry);
}

/// Begins the function that registers the library's policies.
#define PAGELAB_PLUGIN(registry)                                                                 \
  constinit const pagelab::PluginAbi pagelab_plugin_abi = pagelab::plugin_abi();                 \
  /* the name of a parameter takes no parentheses. NOLINTNEXTLINE(bugprone-macro-parentheses) */ \
  void pagelab_plugin_register(pagelab::PolicyRegistry& registry)
