#include "experiments/check/isolated.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <stdexcept>

namespace pagelab {

namespace {

[[noreturn]] void fail(const char* what) {
  throw std::runtime_error(fmt::format("{}: {}", what, std::strerror(errno)));
}

void write_all(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(file, text.data(), text.size());
    if (written < 0 && errno != EINTR) {
      ::_exit(1);  // nobody listens any more
    }
    text.remove_prefix(written < 0 ? 0 : static_cast<std::size_t>(written));
  }
}

/// Never returns: the parent's buffers and destructors are not the child's to run.
[[noreturn]] void be_child(const std::function<void(const Say&)>& work, int pipe, int errors) {
  const rlimit no_core{.rlim_cur = 0, .rlim_max = 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  ::dup2(errors, STDERR_FILENO);
  std::signal(SIGINT, SIG_DFL);
  int code = 0;
  try {
    work([pipe](std::string_view line) { write_all(pipe, fmt::format("{}\n", line)); });
  } catch (const std::exception& error) {
    write_all(errors, error.what());
    code = 1;
  } catch (...) {
    code = 1;
  }
  ::_exit(code);
}

/// Hands whole lines on until the pipe ends; false if nothing came for too long.
bool listen(int pipe, const Say& hear, double silence_s) {
  std::string line;
  std::array<char, 4096> buffer{};
  for (;;) {
    pollfd ready{.fd = pipe, .events = POLLIN, .revents = 0};
    const int polled = ::poll(&ready, 1, static_cast<int>(silence_s * 1000));
    if (polled == 0) {
      return false;
    }
    const ssize_t count = polled < 0 ? -1 : ::read(pipe, buffer.data(), buffer.size());
    if (count == 0) {
      return true;
    }
    if (count < 0 && errno != EINTR) {
      fail("cannot listen to a child process");
    }
    for (ssize_t i = 0; i < count; ++i) {
      const char letter = buffer[static_cast<std::size_t>(i)];
      if (letter != '\n') {
        line += letter;
        continue;
      }
      hear(line);
      line.clear();
    }
  }
}

std::string all_of(std::FILE* file) {
  std::string text;
  std::array<char, 4096> buffer{};
  std::rewind(file);
  while (const std::size_t count = std::fread(buffer.data(), 1, buffer.size(), file)) {
    text.append(buffer.data(), count);
  }
  return text.size() > buffer.size() ? text.substr(text.size() - buffer.size()) : text;
}

std::string how_it_ended(int status) {
  if (WIFSIGNALED(status)) {
    return fmt::format("it was ended by SIG{}", ::sigabbrev_np(WTERMSIG(status)));
  }
  return WEXITSTATUS(status) == 0 ? "" : fmt::format("it ended with exit code {}", WEXITSTATUS(status));
}

}  // namespace

IsolatedEnd run_isolated(const std::function<void(const Say&)>& work, const Say& hear, double silence_s) {
  std::array<int, 2> pipe{};
  std::FILE* const errors = std::tmpfile();
  if (errors == nullptr || ::pipe(pipe.data()) != 0) {
    fail("cannot make a child process");
  }
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) {
    fail("cannot make a child process");
  }
  if (child == 0) {
    ::close(pipe[0]);
    be_child(work, pipe[1], ::fileno(errors));
  }
  ::close(pipe[1]);
  IsolatedEnd end;
  std::exception_ptr thrown;
  try {
    end.silent = !listen(pipe[0], hear, silence_s);
  } catch (...) {
    thrown = std::current_exception();
  }
  if (end.silent || thrown) {
    ::kill(child, SIGKILL);
  }
  ::close(pipe[0]);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  end.how = end.silent ? fmt::format("nothing was heard of it for {} s", silence_s) : how_it_ended(status);
  end.completed = end.how.empty();
  end.errors = all_of(errors);
  std::fclose(errors);
  if (thrown) {
    std::rethrow_exception(thrown);
  }
  return end;
}

}  // namespace pagelab
