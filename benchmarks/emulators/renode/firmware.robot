*** Comments ***
Runs one ELF file of benchmarks.device without a display, and reads its console and the executed instructions:
renode-test firmware.robot --variable BOARD:cortex_m4 --variable ELF:model.elf --variable INPUT:input.bin
...    --variable OUTPUT:017fff --variable INSTRUCTIONS:4347124
All paths are absolute, and may have spaces. OUTPUT: how the first line of the output begins, in hexadecimal.
INSTRUCTIONS: what another engine counted.

*** Settings ***
Suite Setup       Setup
Suite Teardown    Teardown
Test Setup        Reset Emulation
Test Teardown     Test Teardown
Resource          ${RENODEKEYWORDS}
Library           String

*** Variables ***
${BOARD}           cortex_m0plus
${ELF}             firmware.elf
${INPUT}           input.bin
${OUTPUT}          ${EMPTY}
${INSTRUCTIONS}    0
# Of virtual time: 1.5 thousand million instructions.
${SECONDS}         60

*** Keywords ***
Path
    [Documentation]    As the monitor reads paths. It takes the escapes away where a line has a command in backticks.
    [Arguments]    ${path}
    ${escaped}=    Replace String    ${path}    ${SPACE}    \\${SPACE}
    RETURN    @${escaped}

Load Board
    ${platform}=    Path    ${CURDIR}/${BOARD}.repl
    ${program}=    Path    ${ELF}
    ${script}=    Path    ${CURDIR}/firmware.resc
    ${row}=    Path    ${INPUT}
    Execute Command    $board=${platform}
    Execute Command    $elf=${program}
    Execute Command    include ${script}
    ${address}=    Execute Command    sysbus GetSymbolAddress "firmware_input"
    ${address}=    Strip String    ${address}
    Execute Command    sysbus LoadBinary ${row} ${address}
    Create Terminal Tester    sysbus.uart    timeout=${SECONDS}
    Create Log Tester    ${SECONDS}

Instructions At
    [Arguments]    ${event}
    ${entry}=    Wait For Log Entry    inference ${event} at \\d+    treatAsRegex=True    keep=True
    ${counts}=    Get Regexp Matches    ${entry}    inference ${event} at (\\d+)    1
    RETURN    ${counts}[0]

No Access Should Have Gone Astray
    Should Not Be In Log    non existing peripheral    timeout=0

*** Test Cases ***
Should Infer As The Simulator Does
    Load Board
    Start Emulation
    Wait For Line On Uart    ticks
    Wait For Line On Uart    output ${OUTPUT}
    Wait For Line On Uart    end
    No Access Should Have Gone Astray

Should Execute As Many Instructions As Counted Elsewhere
    [Documentation]    Up to those of firmware_tick, every 2^24 ticks.
    Load Board
    Start Emulation
    Wait For Line On Uart    end
    ${first}=    Instructions At    begins
    ${last}=    Instructions At    ends
    Should Be True    0 <= ${last} - ${first} - ${INSTRUCTIONS} <= 6 * (${INSTRUCTIONS} // 2 ** 24)
    ${total}=    Execute Command    cpu ExecutedInstructions
    Should Be True    int(${total}) >= ${last}
