# SPDX-License-Identifier: Apache-2.0
"""The rule narrow_tflite: a .tflite model, narrowed while building, as a C library."""

def _narrow_model(ctx):
    folder = ctx.outputs.model.dirname
    arguments = ctx.actions.args()
    arguments.add("--quiet")
    arguments.add("--overwrite")
    if ctx.attr.grid:
        arguments.add(ctx.attr.grid, format = "--grid=%s")
    else:
        arguments.add(ctx.attr.bits, format = "--bits=%s")
    arguments.add(ctx.outputs.model, format = "--output=%s")
    arguments.add(folder, format = "--c_source=%s")
    arguments.add(ctx.attr.core, format = "--core=%s")
    arguments.add_all([ctx.expand_location(flag, ctx.attr.data) for flag in ctx.attr.flags])
    arguments.add("--")
    arguments.add(ctx.file.stock)
    ctx.actions.run(
        executable = ctx.executable._exporter,
        arguments = [arguments],
        inputs = [ctx.file.stock] + ctx.files.data,
        outputs = [ctx.outputs.model, ctx.outputs.source, ctx.outputs.layers, ctx.outputs.header],
        mnemonic = "NarrowTflite",
        progress_message = "Narrowing %s" % ctx.file.stock.short_path,
    )

_narrow_model_rule = rule(
    implementation = _narrow_model,
    attrs = {
        "stock": attr.label(allow_single_file = True, mandatory = True),
        "bits": attr.int(),
        "grid": attr.string(),
        "core": attr.string(mandatory = True),
        "flags": attr.string_list(),
        "data": attr.label_list(allow_files = True),
        "model": attr.output(mandatory = True),
        "source": attr.output(mandatory = True),
        "layers": attr.output(mandatory = True),
        "header": attr.output(mandatory = True),
        "_exporter": attr.label(
            default = Label("//bazel:tflm_export"),
            executable = True,
            cfg = "exec",
        ),
    },
)

def narrow_tflite(name, model, bits = None, core = "portable", flags = [], data = [], grid = None, **kwargs):
    """A model as a C library: #include "NAME.h", call NAME_invoke. The narrowed file is NAME.narrow/NAME.tflite.

    Args:
      name: letters, digits and underscores.
      model: label of the stock .tflite file.
      bits: width k of the multipliers.
      grid: in place of bits, as --grid of the exporter.
      core: whose kernels, as --core of the exporter.
      flags: further flags of the exporter, such as "--calibration=$(location rows.npz)".
      data: labels of the files that the flags name.
      **kwargs: what else a cc_library takes.
    """
    if (bits == None) == (grid == None):
        fail("narrow_tflite %s: give bits or grid, and not both" % name)
    folder = name + ".narrow"  # of its own, as the stock model may be called NAME.tflite, too
    output = "%s/%s" % (folder, name)
    _narrow_model_rule(
        name = name + "_narrow",
        stock = model,
        bits = bits,
        grid = grid,
        core = core,
        flags = flags,
        data = data,
        model = output + ".tflite",
        source = output + ".c",
        layers = output + "_layers.c",
        header = output + ".h",
    )
    native.cc_library(
        name = name,
        srcs = [output + ".c", output + "_layers.c"],
        hdrs = [output + ".h"],
        copts = ["-std=c99"],
        includes = [folder],
        deps = [Label("//tflm_export/kernels")],
        **kwargs
    )
