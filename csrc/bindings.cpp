// The only file that knows Python. Kernels arrive as vaebias._core.cpu.<name>_<f32|f64> and
// vaebias._core.cuda.<...>: addresses and sizes in, nothing out. What a size or a dtype must be
// is checked where names are known, in vaebias/ops; here only what would be undefined behaviour.
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "kernels.h"
#include "simd.h"

namespace py = pybind11;

namespace {

// Pointers cross as integers (tensor.data_ptr()), enums as places in their lists of names (checked
// by vaebias/ops), everything else as it is.
template <class A>
using Crossing = std::conditional_t<std::is_pointer_v<A>, std::uintptr_t,
                                    std::conditional_t<std::is_enum_v<A>, int, A>>;

template <class A>
A received(Crossing<A> value) {
  if constexpr (std::is_pointer_v<A>) {
    return reinterpret_cast<A>(value);
  } else if constexpr (std::is_enum_v<A>) {
    return static_cast<A>(value);
  } else {
    if constexpr (std::is_same_v<A, std::int64_t>) {
      if (value < 0) throw std::invalid_argument("negative size " + std::to_string(value));
    }
    return value;
  }
}

template <class... A>
void bind(py::module_& module, const std::string& name, void (*kernel)(A...)) {
  module.def(
      name.c_str(), [kernel](Crossing<A>... arguments) { kernel(received<A>(arguments)...); },
      py::call_guard<py::gil_scoped_release>());
}

// `names` of an enum class, in its order.
template <std::size_t n>
py::tuple names_of(const char* const (&names)[n]) {
  py::tuple result(n);
  for (std::size_t i = 0; i < n; ++i) result[i] = names[i];
  return result;
}

#define VAEBIAS_BIND(device, name)                                    \
  bind(device##_module, #name "_f32", &vaebias::device::name<float>); \
  bind(device##_module, #name "_f64", &vaebias::device::name<double>);

// Which clone of the CPU kernels runs on this processor (simd.h).
std::string instruction_set() {
#if VAEBIAS_CLONE_LEVEL > 0
  __builtin_cpu_init();
#if VAEBIAS_CLONE_LEVEL >= 4
  if (__builtin_cpu_supports("x86-64-v4")) return "x86-64-v4 (AVX-512)";
#endif
#if VAEBIAS_CLONE_LEVEL >= 3
  if (__builtin_cpu_supports("x86-64-v3")) return "x86-64-v3 (AVX2, FMA)";
#endif
  return "x86-64 (SSE2)";
#else
  return "the compiler's default for this machine";
#endif
}

}  // namespace

#ifndef VAEBIAS_MODULE
#define VAEBIAS_MODULE _core
#endif

PYBIND11_MODULE(VAEBIAS_MODULE, module) {
  module.attr("PIECE") = vaebias::kPiece;
  module.attr("MAX_COLUMNS") = vaebias::kMaxColumns;
  module.attr("TARGET_TOLERANCE") = vaebias::kTargetTolerance;
  module.attr("LIKELIHOODS") = names_of(vaebias::kLikelihoods);
  module.attr("BORDERS") = names_of(vaebias::kBorders);
  module.attr("STORAGES") = names_of(vaebias::kStorages);
  module.def("total_correlation_spans", &vaebias::total_correlation_spans);
  module.attr("COMPILER") = VAEBIAS_COMPILER;
  module.attr("CUDA_ARCHITECTURES") = VAEBIAS_CUDA_ARCHITECTURES;
  module.attr("CUDA_COMPILER") = VAEBIAS_CUDA_COMPILER;
#ifdef _OPENMP
  module.attr("OPENMP") = true;
#else
  module.attr("OPENMP") = false;
#endif
  module.def("instruction_set", &instruction_set);

#ifndef VAEBIAS_WITHOUT_CPU  // as tests/cuda_on_cpu builds it
  py::module_ cpu_module = module.def_submodule("cpu");
#undef VAEBIAS_KERNEL
#define VAEBIAS_KERNEL(name, ...) VAEBIAS_BIND(cpu, name)
#include "kernels.h"
#endif
#ifdef VAEBIAS_WITH_CUDA
  py::module_ cuda_module = module.def_submodule("cuda");
#undef VAEBIAS_KERNEL
#define VAEBIAS_KERNEL(name, ...) VAEBIAS_BIND(cuda, name)
#include "kernels.h"
  cuda_module.def("set_device", &vaebias::cuda::set_device);
#endif
}
