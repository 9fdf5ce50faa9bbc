*** Comments ***
Runs one ELF file of benchmarks.device without a display, and reads its console and the executed instructions:
renode-test firmware.robot --variable BOARD:cortex_m4 --variable ELF:model.elf --variable INPUT:input.bin
...    --variable OUTPUT:017fff --variable INSTRUCTIONS:4347124
All paths are absolute. OUTPUT: how the first line of the output begins, in hexadecimal. INSTRUCTIONS: what another
engine counted.

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
# A SysTick tick is not what an inference may differ by: hooks run at the borders of functions.
${TOLERANCE}       40
${SECONDS}         600

*** Keywords ***
Load Board
    Execute Command    $elf=@${ELF}
    Execute Command    include @${CURDIR}/${BOARD}.resc
    Execute Command    sysbus LoadBinary @${INPUT} `sysbus GetSymbolAddress "firmware_input"`
    Create Terminal Tester    sysbus.uart    timeout=${SECONDS}
    Create Log Tester    ${SECONDS}

Instructions At
    [Arguments]    ${event}
    ${entry}=    Wait For Log Entry    inference ${event} at \\d+    treatAsRegex=True    keep=True
    ${counts}=    Get Regexp Matches    ${entry}    inference ${event} at (\\d+)    1
    RETURN    ${counts}[0]

*** Test Cases ***
Should Infer As The Simulator Does
    Load Board
    Start Emulation
    Wait For Line On Uart    ticks
    Wait For Line On Uart    output ${OUTPUT}
    Wait For Line On Uart    end

Should Execute As Many Instructions As Counted Elsewhere
    Load Board
    Start Emulation
    Wait For Line On Uart    end
    ${first}=    Instructions At    begins
    ${last}=    Instructions At    ends
    Should Be True    abs(${last} - ${first} - ${INSTRUCTIONS}) <= ${TOLERANCE}
    ${total}=    Execute Command    cpu ExecutedInstructions
    Should Be True    int(${total}) >= ${last}
