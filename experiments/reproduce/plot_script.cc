#include "experiments/reproduce/plot_script.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include <fmt/format.h>

namespace pagelab {

namespace {

constexpr const char* python = "/usr/bin/python3";
constexpr int no_matplotlib = 3;  ///< the script's exit code

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

/// The script as an unnamed file, so that an early end of its reader is no broken pipe.
File script_file() {
  File file(std::tmpfile(), std::fclose);
  const std::string script = plot_script();
  if (file && (std::fwrite(script.data(), 1, script.size(), file.get()) != script.size() ||
               std::fflush(file.get()) != 0 || ::lseek(::fileno(file.get()), 0, SEEK_SET) != 0)) {
    file.reset();
  }
  return file;
}

/// Runs Python with the script on stdin. Returns its exit status, or -1 with the reason in errno.
int run(std::FILE* script, const std::vector<std::string>& arguments) {
  std::vector<char*> words;
  for (const std::string& argument : arguments) {
    words.push_back(const_cast<char*>(argument.c_str()));
  }
  words.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, ::fileno(script), STDIN_FILENO);
  pid_t child = 0;
  const int error = ::posix_spawn(&child, python, &actions, nullptr, words.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    errno = error;
    return -1;
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

}  // namespace

std::string draw_figures(const std::filesystem::path& folder, std::span<const std::string> names) {
  const File script = script_file();
  std::vector<std::string> arguments = {python, "-", folder.string()};
  arguments.insert(arguments.end(), names.begin(), names.end());
  const int status = script ? run(script.get(), arguments) : -1;
  if (status == -1) {
    return fmt::format("{} cannot be run: {}", python, std::strerror(errno));
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == no_matplotlib) {
    return fmt::format("{} has no matplotlib (Debian's package python3-matplotlib)", python);
  }
  return status == 0 ? "" : fmt::format("the plotting script failed (see above), status {}", status);
}

}  // namespace pagelab
